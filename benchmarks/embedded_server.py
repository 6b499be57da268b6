"""Requests per second and p50 of the embedded server: REST and gRPC, 1 and 8 connections, half_plus_two.

Run on an idle machine: `python benchmarks/embedded_server.py`. The client is a raw socket loop in this
process (one thread per connection), so with both on two cores the figures are noisy and bounded by the client
as well: they show changes of this server against itself, not against other servers. Writes the model it needs
into a temporary folder.
"""

import argparse
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from apart import run_apart

ROOT = Path(__file__).parents[1]
RECORDED = ROOT / "tests/conformance/tfserving-2.20.0"
PREDICT = "/tensorflow.serving.PredictionService/Predict"
WARMUP_S = 1.0
BODY = b'{"instances": [1.0, 2.0, 5.0]}'


def free_port() -> int:
    """Return a TCP port nothing listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def rest_latencies_s(port: int, seconds: float) -> list[float]:
    """Return the latency in s of every request one connection completes in so many seconds."""
    request = (
        b"POST /v1/models/half_plus_two:predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(BODY)
    )
    latencies = []
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        end = time.perf_counter() + seconds
        while (began := time.perf_counter()) < end:
            connection.sendall(request + BODY)
            answer = connection.recv(65536)
            while not answer.endswith(b"}"):
                answer += connection.recv(65536)
            latencies.append(time.perf_counter() - began)
            assert answer.startswith(b"HTTP/1.1 200") and b"4.5" in answer, answer
    return latencies


def grpc_latencies_s(port: int, seconds: float) -> list[float]:
    """Return the latency in s of every request a channel completes in time; send bytes encoded once."""
    import grpc

    # model_spec { name } and inputs { "x": float32 [3] }, as protobuf writes them.
    tensor = b"\x08\x01\x12\x04\x12\x02\x08\x03\x2a\x0c\x00\x00\x80\x3f\x00\x00\x00\x40\x00\x00\xa0\x40"
    entry = b"\x0a\x01x\x12" + bytes([len(tensor)]) + tensor
    request = b"\x0a\x0f\x0a\x0dhalf_plus_two\x12" + bytes([len(entry)]) + entry
    latencies = []
    with grpc.insecure_channel(
        f"127.0.0.1:{port}", options=[("grpc.use_local_subchannel_pool", 1)]
    ) as channel:
        ask = channel.unary_unary(PREDICT, request_serializer=None, response_deserializer=None)
        ask(request)
        end = time.perf_counter() + seconds
        while (began := time.perf_counter()) < end:
            assert b"half_plus_two" in ask(request)
            latencies.append(time.perf_counter() - began)
    return latencies


def measure(name: str, port: int, connections: int, seconds: float) -> str:
    """Return one line: protocol, connections, requests per second and percentiles in ms."""
    processes = min(connections, 2)
    parts = run_apart(many, [(name, port, connections // processes, seconds)] * processes)
    latencies = sorted(1000 * latency for part in parts for latency in part)
    p99 = latencies[int(0.99 * len(latencies))]
    return (
        f"{name}  {connections} connection(s): {len(latencies) / seconds:7.0f} requests/s, "
        f"p50 {statistics.median(latencies):.3f} ms, p99 {p99:.3f} ms   (noisy: client on the same machine)"
    )


def many(name: str, port: int, connections: int, seconds: float) -> list[float]:
    """Measure the latencies of several connections, one thread each."""
    from concurrent.futures import ThreadPoolExecutor

    ask = {"REST": rest_latencies_s, "gRPC": grpc_latencies_s}[name]
    with ThreadPoolExecutor(connections) as threads:
        parts = list(threads.map(lambda _: ask(port, seconds), range(connections)))
    return [latency for part in parts for latency in part]


def main() -> None:
    """Start the server, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=5.0, help="length of each measurement in s")
    parser.add_argument(
        "--flag", action="append", default=[], help="one more flag for the server, as --flag=--name=value"
    )
    options = parser.parse_args()
    rest, grpc = free_port(), free_port()
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            [sys.executable, str(RECORDED / "make_models.py"), folder], check=True, capture_output=True
        )
        command = [sys.executable, "-m", "pipelines.targets.tfserving.embedded", f"--port={grpc}"]
        command += [
            f"--rest_api_port={rest}",
            "--model_name=half_plus_two",
            f"--model_base_path={folder}/half_plus_two",
        ]
        server = subprocess.Popen(
            [*command, *options.flag], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        try:
            assert server.stdout is not None
            print(server.stdout.readline().strip())
            for name, port in (("REST", rest), ("gRPC", grpc)):
                for connections in (1, 8):
                    measure(name, port, connections, min(WARMUP_S, options.seconds))
                    print(measure(name, port, connections, options.seconds), flush=True)
        finally:
            server.terminate()
            server.wait()


if __name__ == "__main__":
    main()

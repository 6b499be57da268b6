"""The embedded server under random requests: it lives, answers what is right, and its memory stays.

TANDEM_FUZZ_S=600 goes on for as many seconds with each kind; TANDEM_FUZZ_SEED chooses other requests. With
`-s` each kind prints how many requests there were and what memory the server had.
"""

import http.client
import importlib
import json
import os
import random
import socket
import struct
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parents[1] / "targets"))
from embedded_fixture import Server, started, written_models
from embedded_grpc import _KINDS, call, predict_message
from embedded_inputs import GOOD, SIGNATURES, grpc_request, http_stream, rest_request

FUZZ_S = float(os.environ.get("TANDEM_FUZZ_S", "5"))
SEED = int(os.environ.get("TANDEM_FUZZ_SEED", "12"))
MB = 1 << 20
# Beyond what the first quarter of the time has brought it to: not more than the server below may take at all.
BUDGET_BYTES = 128 * MB
BETWEEN_CHECKS = 200
# How often the memory is written down: what levels off cannot be told from a leak by two numbers.
BETWEEN_FIGURES = 10_000
pytestmark = [pytest.mark.slow, pytest.mark.timeout(FUZZ_S * 4 + 300)]

REST_STATUSES = {200, 400, 404, 409, 413, 429, 501}
GRPC_CODES = {
    "OK",
    "INVALID_ARGUMENT",
    "NOT_FOUND",
    "UNIMPLEMENTED",
    "RESOURCE_EXHAUSTED",
    "ABORTED",
    "FAILED_PRECONDITION",
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    config, models = tmp_path_factory.mktemp("config") / "models", written_models()
    entries = "\n".join(
        f'config {{ name: "{name}" base_path: "{models / name}" model_platform: "tensorflow" }}'
        for name in SIGNATURES
        if name != "nobody"
    )
    config.write_text(f"model_config_list {{ {entries} }}")
    flags = (
        f"--model_config_file={config}",
        f"--request_memory_bytes={64 * MB}",
        f"--total_memory_bytes={BUDGET_BYTES}",
    )
    with started(*flags) as process:
        yield process.wait_until_listening()


def memory_bytes(server: Server) -> int:
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return 1024 * int(status.partition("VmRSS:")[2].split()[0])


def check_alive(server: Server) -> None:
    """The right answers, by both protocols."""
    assert server.process.poll() is None, server.log.read_text()[-2000:]
    body = {"signature_name": "floats", "inputs": [1.5, 2.0]}
    assert server.predict("odd", body) == (200, {"outputs": [1.5, 2.0]})
    message = predict_message("odd", "floats", x=("DT_FLOAT", [1], "float_val: 2.5"))
    code, raw = call(server, "Predict", message)
    assert code == "OK"
    assert struct.pack("<f", 2.5) in raw


def fuzz(server: Server, name: str, attempt: Callable[[random.Random], Any]) -> None:
    """Attempt until the time is over, with a look at the server in between."""
    rng, counts = random.Random(SEED), Counter[Any]()  # noqa: S311  to repeat them, not to hide them
    check_alive(server)
    began = time.monotonic()
    settled = 0
    course = [memory_bytes(server) // MB]
    while (passed_s := time.monotonic() - began) < FUZZ_S:
        for _ in range(BETWEEN_CHECKS):
            counts[attempt(rng)] += 1
        check_alive(server)
        if counts.total() // BETWEEN_FIGURES >= len(course):
            course.append(memory_bytes(server) // MB)
            sys.stdout.write(f"{name}: {counts.total()} inputs, {course[-1]} MB\n")
        settled = max(settled, memory_bytes(server)) if passed_s < FUZZ_S / 4 or not settled else settled
    memory = memory_bytes(server)
    sys.stdout.write(
        f"\n{name}: {counts.total()} inputs in {time.monotonic() - began:.0f} s, outcomes {dict(counts)}, "
        f"memory {settled / MB:.0f} MB in the first quarter, {memory / MB:.0f} MB at the end; "
        f"MB before the first and after each {BETWEEN_FIGURES} inputs: {course}\n"
    )
    assert memory - settled < BUDGET_BYTES
    assert len(counts) > 2  # requests that are all refused alike would show nothing


def test_rest_bodies(server: Server) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.rest, timeout=30)

    def attempt(rng: random.Random) -> int:
        method, path, body, headers = rest_request(rng)
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        answer = response.read()
        case = (method, path, headers, body[:2000], response.status, answer[:500])
        assert response.status in REST_STATUSES, case
        assert len(answer) < 4 * MB, case
        if response.headers.get_content_type() == "application/json" and answer:
            assert ("error" in json.loads(answer)) == (response.status != 200), case
        return response.status

    fuzz(server, "REST bodies", attempt)
    connection.close()


def new_request(method: str) -> Any:
    _, module, kind = _KINDS[method]
    return getattr(importlib.import_module(f"tensorflow_serving.apis.{module}"), kind)()


def test_grpc_messages(server: Server) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # importing tensorflow warns about its own future
        new_request("Predict")

    def attempt(rng: random.Random) -> str:
        method, raw = grpc_request(rng, new_request)
        code, answer = call(server, method, raw)
        is_broken = code == "INTERNAL" and answer.startswith("The message is no ")
        assert code in GRPC_CODES or is_broken, (method, raw[:2000], code, answer)
        return code

    fuzz(server, "gRPC messages", attempt)


def read_all(connection: socket.socket) -> bytes:
    found = b""
    while piece := connection.recv(1 << 20):
        found += piece
    return found


def exchange(server: Server, pieces: list[bytes]) -> bytes | None:
    """All answers to what one client sends before it ends its side; None if it was hung up on meanwhile."""
    with socket.create_connection(("127.0.0.1", server.rest), timeout=30) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            for piece in pieces:
                connection.sendall(piece)
            connection.shutdown(socket.SHUT_WR)
            return read_all(connection)
        except OSError as error:
            assert not isinstance(error, TimeoutError), pieces
            return None


def test_http_framing(server: Server) -> None:
    def attempt(rng: random.Random) -> str:
        pieces = http_stream(rng)
        if rng.random() < 0.05:  # goes away without a word
            with socket.create_connection(("127.0.0.1", server.rest), timeout=30) as connection:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                connection.sendall(b"".join(pieces))
            return "reset"
        answer = exchange(server, pieces)
        if answer is None:
            return "hung up"
        assert answer == b"" or answer.startswith(b"HTTP/1.1 "), (pieces, answer[:500])
        good = next((at for at, piece in enumerate(pieces) if piece != GOOD), len(pieces))
        assert answer.count(b'"outputs": [\n        1.0') >= good, (pieces, answer[:2000])
        assert b"HTTP/1.1 500" not in answer, (pieces, answer[:2000])
        return f"{answer.count(b'HTTP/1.1 200')} answers"

    fuzz(server, "HTTP framing", attempt)

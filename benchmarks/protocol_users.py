"""What a user costs per protocol: requests per second over REST and gRPC of a server that answers at once.

    python benchmarks/protocol_users.py --seconds 5 --pairs 3

Rounds as a comparison drives them, generator and null server on a core each, interleaved A B B A. Exit code 1
when the gRPC user reaches less than 60 % of the REST user's rate, or sends more than 1 % of an open load of
500/s later than 1 ms.
"""

# ruff: noqa: E402 - the import path has to be mended before anything of ours can be imported
import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "e2e")]

import load_harness
import numpy as np

from loadtests import delivery
from loadtests.codecs import find_codec
from loadtests.payloads import CheckedOutput, PayloadPool

WAYS = {"REST": ("http", "json-rows", "http"), "gRPC": ("grpc", "tensor-proto", "grpc")}
LEAST_SHARE = 0.6
MOST_LATE = 0.01
OUTPUT = {"scores": np.array([[0.125, 0.75, 0.125]], np.float32)}


@contextmanager
def null_server(folder: Path, way: str) -> Iterator[str]:
    """Run a server that answers at once over one protocol; yield its address."""
    transport, codec, scheme = WAYS[way]
    answer = folder / "answer"
    answer.write_bytes(find_codec(codec).answer(OUTPUT))
    options = ["--body-file", str(answer), *(["--grpc"] if transport == "grpc" else [])]
    command = load_harness.on_server_core("loadtests.servers.null", *options)
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"{scheme}://127.0.0.1:{json.loads(process.stdout.readline())['port']}"
        finally:
            process.kill()


def measure(way: str, load: str, seconds: float) -> tuple[float, float]:
    """Return the requests per second of one round, and the share of sends later than 1 ms."""
    transport, codec, _ = WAYS[way]
    samples = [{"image": np.full((8, 8, 1), number / 16, np.float32)} for number in range(8)]
    with tempfile.TemporaryDirectory() as name, null_server(Path(name), way) as url:
        plan = load_harness.make_plan(
            Path(name), url, load=load, warmup_limit_s=0.5, duration_s=seconds, check_share=0.01
        )
        PayloadPool(
            method="POST",
            path="/tensorflow.serving.PredictionService/Predict",
            headers={} if transport == "grpc" else {"Content-Type": "application/json"},
            bodies=tuple(find_codec(codec).encode([sample], "digits_cnn") for sample in samples),
            expected=({"scores": OUTPUT["scores"].astype(np.float64)},),
            outputs=(CheckedOutput("scores", 1e-6, 0.0),),
            rows=(1,) * len(samples),
            codec=codec,
            transport=transport,
        ).save(plan.pool_file)
        result, sent = load_harness.run(plan)
    assert result.errors_count == 0, result.errors
    late = delivery.late_share(sent.scheduled_ns, sent.sent_ns)
    return result.requests_count / result.window_s, late or 0.0


def main() -> int:
    """Measure, print, and judge."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--pairs", type=int, default=3)
    options = parser.parse_args()
    failed = False
    for users in (1, 8):
        rates: dict[str, list[float]] = defaultdict(list)
        for pair in range(options.pairs):
            for way in WAYS if pair % 2 == 0 else reversed(WAYS):
                rates[way].append(measure(way, f"closed:{users}", options.seconds)[0])
        medians = {way: statistics.median(found) for way, found in rates.items()}
        share = medians["gRPC"] / medians["REST"]
        failed |= share < LEAST_SHARE
        told = ", ".join(f"{way} {rate:.0f} requests/s" for way, rate in medians.items())
        print(f"closed:{users}  {told}; gRPC is {share:.0%} of REST, at least {LEAST_SHARE:.0%} is wanted")
    for way in WAYS:
        rate, late = measure(way, "open:500", options.seconds)
        failed |= late > MOST_LATE
        print(
            f"open:500  {way} {rate:.0f} requests/s, {late:.2%} sent later than 1 ms, {MOST_LATE:.0%} may be"
        )
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())

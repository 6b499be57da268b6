"""What recording costs: requests per second of our user and of a bare FastHttpUser, server doing nothing.

    python benchmarks/recording_overhead.py --seconds 5 --pairs 4

Both run as Locust users in a process of their own, on one core, with the same Locust statistics; the server
has another core. The repetitions alternate A B B A, so that a slow drift of the machine meets both alike.
Ours is the faster one because it also replaces FastHttpUser's client: see docs/load.md.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

PATH = "/v1/models/digits_cnn:predict"
BODY = json.dumps({"instances": [[[[value / 16] for value in range(8)] for _ in range(8)]]}).encode()
WARMUP_S = 1.0


def bare_rate(url: str, users: int, seconds: float) -> float:
    """Measure the requests per second of a plain FastHttpUser."""
    from locust import FastHttpUser, task

    class BareUser(FastHttpUser):
        host = url

        @task
        def predict(self) -> None:
            self.client.post(PATH, data=BODY.decode(), headers={"Content-Type": "application/json"})

    return _rate(BareUser, url, users, seconds)


def recorded_rate(url: str, users: int, seconds: float) -> float:
    """Measure the requests per second of our user, recording all requests and checking 1 % of answers."""
    import numpy as np

    from loadtests.last_moment import LastMoment
    from loadtests.ledger import NEVER, Ledger, Phase
    from loadtests.payloads import CheckedOutput, PayloadPool
    from loadtests.recorder import Recorder
    from loadtests.users.load_user import round_user

    headers = {"Content-Type": "application/json"}
    outputs = (CheckedOutput("scores", 1e-4, 1e-4),)
    pool = PayloadPool("POST", PATH, headers, (BODY,), ({"scores": np.zeros(1)},), outputs)
    with tempfile.TemporaryDirectory() as folder, Recorder(Path(folder) / "samples.parquet") as recorder:
        phases = [Phase(pool, check_share=0.01, seed=1, recorder=recorder) for _ in range(2)]
        ledger = Ledger(*phases)
        ledger.open_window(0, NEVER)
        user = round_user(
            False,
            ledger=ledger,
            pool=pool,
            url_base=url,
            seed=1,
            timeout_s=10.0,
            last_moment=LastMoment(0),
        )
        rate = _rate(user, url, users, seconds)
        assert ledger.window.errors_count == 0, ledger.window.errors
        return rate


def _rate(user_class: type, url: str, users: int, seconds: float) -> float:
    import gevent  # type: ignore[import-untyped]
    from locust.env import Environment

    environment = Environment(user_classes=[user_class], host=url)
    runner = environment.create_local_runner()
    runner.start(users, spawn_rate=users)
    gevent.sleep(min(WARMUP_S, seconds))
    before = runner.stats.total.num_requests
    gevent.sleep(seconds)
    rate = (runner.stats.total.num_requests - before) / seconds
    assert runner.stats.total.num_failures == 0
    environment.stop_timeout = 5.0
    runner.quit()
    return float(rate)


KINDS = {"bare": bare_rate, "recorded": recorded_rate}


@contextlib.contextmanager
def null_server(core: int) -> Iterator[str]:
    """Run the null server on `core` and yield its URL."""
    command = ["taskset", "-c", str(core), sys.executable, "-m", "loadtests.servers.null"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{json.loads(process.stdout.readline())['port']}"
        finally:
            process.terminate()


def measure(kind: str, url: str, core: int, options: argparse.Namespace) -> float:
    """Measure one rate in a fresh process on `core`."""
    arguments = [
        "--only",
        kind,
        "--url",
        url,
        "--seconds",
        str(options.seconds),
        "--users",
        str(options.users),
    ]
    command = ["taskset", "-c", str(core), sys.executable, __file__, *arguments]
    answer = subprocess.run(command, check=True, capture_output=True, text=True, timeout=options.seconds + 60)
    return float(answer.stdout)


def compare(options: argparse.Namespace) -> None:
    """Measure in turn and print medians and ratios."""
    server_core, generator_core = (sorted(os.sched_getaffinity(0)) * 2)[:2]
    rates: dict[str, list[float]] = {"bare": [], "recorded": []}
    with null_server(server_core) as url:
        for pair in range(options.pairs):
            for kind in ("bare", "recorded") if pair % 2 == 0 else ("recorded", "bare"):
                rates[kind].append(measure(kind, url, generator_core, options))
                print(f"pair {pair + 1} {kind:>8}: {rates[kind][-1]:8.0f} requests/s", flush=True)
    ratios = [ours / theirs for ours, theirs in zip(rates["recorded"], rates["bare"], strict=True)]
    for kind, values in rates.items():
        print(f"median {kind:>8}: {statistics.median(values):8.0f} requests/s")
    median, low, high = statistics.median(ratios), min(ratios), max(ratios)
    print(f"ratio recorded / bare: median {median:.2f}, pairs {low:.2f} to {high:.2f}")


def main() -> None:
    """Parse the command line; compare, or measure one rate for another process of this benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=5.0, help="measured seconds per repetition")
    parser.add_argument("--pairs", type=int, default=4, help="repetitions of each kind")
    parser.add_argument("--users", type=int, default=8, help="concurrent users")
    parser.add_argument("--only", choices=KINDS, help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        print(KINDS[options.only](options.url, options.users, options.seconds))
    else:
        compare(options)


if __name__ == "__main__":
    main()

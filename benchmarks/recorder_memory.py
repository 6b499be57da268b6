"""Memory and disk the recorder takes for ten million requests, fed without a server.

    python benchmarks/recorder_memory.py --requests 10000000

Prints the resident memory of this process while it records and closes the file, and the bytes a request takes
on disk: while the round runs (the partial file) and afterwards. Fails when memory grows by more than 8 MB
between the first and the last tenth, when closing takes 40 MB more, or a request more than 64 bytes.
"""

import argparse
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import psutil

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from loadtests.recorder import Recorder, RequestRecord, partial_path, read_samples  # noqa: E402

GROWTH_LIMIT_MB = 8.0
CLOSING_LIMIT_MB = 40.0
BYTES_LIMIT = 64
CHUNK = 100_000
STEPS = 10


def resident_mb() -> float:
    """Return this process's resident memory in MB."""
    return float(psutil.Process().memory_info().rss) / 1e6


class Peak:
    """Highest resident memory while it is entered, looked at every 10 ms."""

    def __enter__(self) -> "Peak":
        self.mb = resident_mb()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.01):
            self.mb = max(self.mb, resident_mb())


def feed(recorder: Recorder, requests_count: int, source: np.random.Generator, start_ns: int) -> int:
    """Record requests of a plausible open load of 5,000/s, and return when the last one was sent."""
    for first in range(0, requests_count, CHUNK):
        count = min(CHUNK, requests_count - first)
        scheduled = start_ns + np.cumsum(source.exponential(200_000, count)).astype(np.int64)
        sent = scheduled + source.integers(50_000, 400_000, count)
        done = sent + source.lognormal(14.5, 0.5, count).astype(np.int64)
        for times in zip(scheduled.tolist(), sent.tolist(), done.tolist(), strict=True):
            recorder.add(RequestRecord(*times, 200, 34, None))
        start_ns = int(scheduled[-1])
    return start_ns


def measure(path: Path, requests_count: int) -> bool:
    """Record, print, and return whether memory stayed flat and the files small."""
    source, last_ns, memory_mb = np.random.default_rng(1), time.monotonic_ns(), []
    recorder, began_s = Recorder(path), time.monotonic()
    for _ in range(STEPS):
        last_ns = feed(recorder, requests_count // STEPS, source, last_ns)
        memory_mb.append(resident_mb())
        print(f"{recorder.rows_count:>12,} requests  {memory_mb[-1]:7.1f} MB resident", flush=True)
    count, took_s = recorder.rows_count, time.monotonic() - began_s
    partial_bytes = partial_path(path).stat().st_size / count
    with Peak() as peak:
        recorder.close()
    final_bytes = path.stat().st_size / count
    print(f"recorded in {took_s:.0f} s, {took_s / count * 1e6:.2f} µs a request with making it up")
    print(f"while the file is closed: {peak.mb:.1f} MB at most")
    print(f"bytes a request: {partial_bytes:.1f} while recording, {final_bytes:.1f} afterwards")
    growth_mb = memory_mb[-1] - memory_mb[0]
    print(f"growth since the first tenth: {growth_mb:+.1f} MB (at most {GROWTH_LIMIT_MB:.0f})")
    flat = growth_mb <= GROWTH_LIMIT_MB and peak.mb - memory_mb[-1] <= CLOSING_LIMIT_MB
    return flat and max(partial_bytes, final_bytes) <= BYTES_LIMIT


def main() -> int:
    """Parse the command line, measure, and return 0 when everything was within its limits."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=10_000_000, help="how many to record")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "samples.parquet"
        good = measure(path, options.requests)
        if options.requests <= CHUNK * STEPS:
            assert len(read_samples(path)) == options.requests // STEPS * STEPS
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())

"""Measured latencies beside what the server's own log says, for delays that are known.

    python benchmarks/known_delays.py --seconds 15

One row per server behaviour and load: p50, p95 and p99 as the generator measured them, as the server logged
them for the very same requests, and the difference, which has to be within 3 % or 0.5 ms. After that the
lateness of an open load of 1,000 requests/s on the null server, which must stay below 2 ms at p99. Server and
generator have a core each; how many cores other processes took meanwhile stands in the last column.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "e2e")]

from load_harness import (  # noqa: E402
    known_delay_server,
    listening_for_noise,
    make_plan,
    null_server,
    run,
)

from loadtests import delivery  # noqa: E402 - after the path is mended
from loadtests.recorder import Samples, read_samples  # noqa: E402
from loadtests.result import RoundResult  # noqa: E402

DELAYS = ("constant:2", "constant:20", "bimodal:5,40,0.2", "heavy:5,1.5")
LOADS = ("closed:1", "closed:2", "open:150")
PERCENTILES = (50, 95, 99)
RELATIVE_LIMIT, ABSOLUTE_LIMIT_MS = 0.03, 0.5
HEADER = f"{'server':<18}{'load':<10}requests      {'measured':>9}{'server':>9}    diff  within  others"


def known_delay(delay: str, load: str, seconds: float) -> bool:
    """Measure one load on one server, print its rows, and return whether all are within the limits."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with known_delay_server(folder, "--delay", delay, "--seed", "3") as server:
            plan = make_plan(folder, server.url, load=load, warmup_limit_s=0.0, duration_s=seconds)
            with listening_for_noise(server.process) as noise:
                _, samples = run(plan)
            # The load runs for a moment before the window opens.
            before_count = len(read_samples(plan.warmup_file))
            theirs_ms = np.array(server.stop().taken_ns[before_count:]) / 1e6
    ours_ms = (samples.done_ns - samples.scheduled_ns) / 1e6
    assert len(ours_ms) == len(theirs_ms), f"{len(ours_ms)} requests recorded, {len(theirs_ms)} answered"
    title = f"{delay:<18}{load:<10}{len(ours_ms):>8}"
    rows = [(q, float(np.percentile(ours_ms, q)), float(np.percentile(theirs_ms, q))) for q in PERCENTILES]
    for q, ours, theirs in rows:
        verdict = "yes" if _within(ours, theirs) else "NO"
        print(
            f"{title}  p{q:<3}{ours:9.3f}{theirs:9.3f}{ours - theirs:+8.3f}  {verdict:<6}  {noise.cores:.2f}"
        )
        title = " " * len(title)
    return all(_within(ours, theirs) for _, ours, theirs in rows)


def _within(ours_ms: float, theirs_ms: float) -> bool:
    return abs(ours_ms - theirs_ms) <= max(RELATIVE_LIMIT * theirs_ms, ABSOLUTE_LIMIT_MS)


def on_schedule(rate_per_s: int, seconds: float) -> bool:
    """Send an open load to the null server, print its lateness, and return whether that is within limits."""
    with tempfile.TemporaryDirectory() as name, null_server() as (process, url):
        plan = make_plan(Path(name), url, load=f"open:{rate_per_s}", check_share=0.0, duration_s=seconds)
        with listening_for_noise(process) as noise:
            result, samples = run(plan)
    late_ms = (samples.sent_ns - samples.scheduled_ns) / 1e6
    share = _delivered(result, samples)
    p50, p99 = np.percentile(late_ms, [50, 99])
    print(
        f"null server, open:{rate_per_s}: lateness p50 {p50:.3f} ms, p99 {p99:.3f} ms, "
        f"worst {late_ms.max():.3f} ms; achieved/offered {share:.4f}; others {noise.cores:.2f}"
    )
    return bool(p99 < 2 and share >= 0.99)


def _delivered(result: RoundResult, samples: Samples) -> float:
    assert result.window_start_ns is not None
    start_ns, end_ns = result.window_start_ns, result.window_start_ns + round(result.window_s * 1e9)
    offered = delivery.offered_rate(samples.scheduled_ns, start_ns, end_ns)
    achieved = delivery.achieved_rate(samples.scheduled_ns, samples.sent_ns, start_ns, end_ns)
    assert offered is not None
    assert achieved is not None
    return achieved / offered


def main() -> int:
    """Parse the command line, measure, and return 0 when everything was within its limits."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=15.0, help="measured seconds per row")
    parser.add_argument("--delays", nargs="+", default=DELAYS, help="behaviours of the server")
    parser.add_argument("--loads", nargs="+", default=LOADS, help="loads on each")
    parser.add_argument("--rate", type=int, default=1000, help="of the schedule, requests/s")
    options = parser.parse_args()
    print(HEADER)
    good = [known_delay(delay, load, options.seconds) for delay in options.delays for load in options.loads]
    good.append(on_schedule(options.rate, options.seconds))
    print(f"{sum(good)} of {len(good)} within the limits")
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())

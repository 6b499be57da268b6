"""An hour at half the rate a server holds: does it keep memory, descriptors or threads?

    python benchmarks/soak.py --seconds 3600 --rate torchserve=200 --rate tfserving=900

A rate that the machine does not hold at every moment shows in the progress: a server that is as far behind as
the time-out answers nobody in time any more. Then take a lower rate, and a --preset whose queue holds no more
than arrives within the time-out.

Each server in turn is started as `compare` starts it, warmed by one user, and gets an open load of
the rate given, or of half the rate found by the SLO search in --run. Memory (anonymous pages, which no other
program's loading of the same libraries moves), descriptors that are no connections, and threads of its whole
process tree are sampled meanwhile, and kept in soak-TARGET.csv. An open load that meets a pause opens
connections, so that their number is sampled too. Printed are slopes per hour with their 95 % intervals, from
the means of blocks of samples after the first fifth. Ends with 1 if requests failed, or a slope is certainly
above its limit: 4 MB, 1 descriptor or 1 thread an hour.
"""

import argparse
import csv
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import scipy.stats

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from loadtests.plan import RoundPlan  # noqa: E402
from loadtests.reports import Report  # noqa: E402
from loadtests.result import RoundResult  # noqa: E402
from models.spec import load_model  # noqa: E402
from pipelines.errors import UserError  # noqa: E402
from pipelines.export.stage import export, target_folder  # noqa: E402
from pipelines.files.log_ends import copy_ends  # noqa: E402
from pipelines.machine.cores import split_cores  # noqa: E402
from pipelines.measure.generator import generate  # noqa: E402
from pipelines.processes.guard import guarded  # noqa: E402
from pipelines.record.reading import read_run  # noqa: E402
from pipelines.runners.local import LocalRunner  # noqa: E402
from pipelines.runners.server import Server  # noqa: E402
from pipelines.serve import readiness  # noqa: E402
from pipelines.targets.presets import DEFAULT, resolve  # noqa: E402
from pipelines.targets.server_plan import ServeRequest  # noqa: E402
from pipelines.verify.stage import ensure_verified  # noqa: E402

LIMITS_PER_HOUR = {"memory_mb": 4.0, "descriptors": 1.0, "threads": 1.0, "connections": np.inf}
SETTLING_SHARE = 0.2
BLOCKS = 12
LEAST_SAMPLES = 3
SAMPLES_WANTED = 600
HOUR_S = 3600.0
WARMING_S = 20.0
"""A soak looks for what grows: a cold server that refuses requests in its first seconds is another matter."""
MINUTE = 60


@dataclass(frozen=True)
class Slope:
    """Growth per hour, and its 95 % interval."""

    per_hour: float
    low: float
    high: float


def slope(times_s: Sequence[float], values: Sequence[float]) -> Slope:
    """Fit a line through the means of blocks of samples, which are nearly independent as samples are not.

    Raises:
        ValueError: fewer than three samples after the first fifth.
    """
    start = times_s[0] + SETTLING_SHARE * (times_s[-1] - times_s[0])
    kept = [(moment, value) for moment, value in zip(times_s, values, strict=True) if moment >= start]
    if len(kept) < LEAST_SAMPLES:
        raise ValueError(f"{len(kept)} samples after the first fifth show no slope; soak for longer")
    blocks = [block.mean(axis=0) for block in np.array_split(np.array(kept), min(BLOCKS, len(kept)))]
    moments, means = np.transpose(blocks)
    hours = moments / HOUR_S - np.mean(moments / HOUR_S)
    per_hour = float(hours @ means / (hours @ hours))
    residuals = means - means.mean() - per_hour * hours
    freedom = len(blocks) - 2
    error = float(np.sqrt(residuals @ residuals / freedom / (hours @ hours)))
    reach = error * float(scipy.stats.t.ppf(0.975, freedom))
    return Slope(per_hour, per_hour - reach, per_hour + reach)


@dataclass
class Watch:
    """Samples of a process tree, taken when it is asked, at most every `interval_s`.

    Every minute `say` is told how many requests were answered in it.
    """

    pid: int
    interval_s: float
    say: Callable[[str], None] = print
    answered_count: int = 0
    seconds_count: int = 0
    times_s: list[float] = field(default_factory=list)
    values: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in LIMITS_PER_HOUR})

    def listen(self, report: Report, _pid: int) -> bool:
        """Count a second's answers, and take a sample if it is time; never asks the load to end."""
        self.look()
        if report.kind == "second":
            self.answered_count += report.requests_count
            self.seconds_count += 1
            if self.seconds_count % MINUTE == 0:
                rate_per_s = self.answered_count / MINUTE
                self.say(f"minute {self.seconds_count // MINUTE}: {rate_per_s:.1f} answers a second")
                self.answered_count = 0
        return False

    def look(self) -> None:
        """Take a sample if it is time."""
        now = time.monotonic()
        if self.times_s and now - self.times_s[-1] < self.interval_s:
            return
        found = tree_figures(self.pid)
        self.times_s.append(now)
        for name, value in found.items():
            self.values[name].append(value)

    def save(self, file: Path) -> None:
        """Write all samples as CSV, one line a moment."""
        with file.open("w", newline="") as stream:
            rows = csv.writer(stream)
            rows.writerow(["time_s", *self.values])
            started_s = self.times_s[0]
            moments = (round(moment - started_s, 3) for moment in self.times_s)
            rows.writerows(zip(moments, *self.values.values(), strict=True))

    def slopes(self) -> dict[str, Slope]:
        """Return the slope of every figure."""
        return {name: slope(self.times_s, values) for name, values in self.values.items()}


def tree_figures(pid: int) -> dict[str, float]:
    """Return what a process and its descendants hold now."""
    root = psutil.Process(pid)
    memory_bytes = descriptors = threads = connections = 0
    for process in (root, *root.children(recursive=True)):
        with suppress(psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
            memory_bytes += anonymous_bytes(process.pid)
            open_here = len(process.net_connections("tcp"))
            descriptors += process.num_fds() - open_here
            connections += open_here
            threads += process.num_threads()
    counts = {"descriptors": descriptors, "threads": threads, "connections": connections}
    return {"memory_mb": memory_bytes / 1e6, **counts}


def anonymous_bytes(pid: int) -> int:
    """Return a process's share of the pages that belong to no file: heaps, stacks, copies on writing."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss_Anon:"))


@contextmanager
def started(target: str, options: argparse.Namespace, work: Path) -> Iterator[tuple[Server, Path]]:
    """Start a server that answers correctly; yield it and the file of requests for it."""
    say, (model, artifacts) = print_progress, (options.model, options.artifacts)
    preset = resolve(options.preset, [target])[target]
    export(model, artifacts, say, targets=[target])
    verified, spec = ensure_verified(model, artifacts, say, [target]), load_model(model)
    folder = target_folder(artifacts, spec.name, target)
    request = ServeRequest(spec, folder, work, preset, cores=split_cores().server)
    with LocalRunner().prepare(target, request) as planned, planned as server:
        pool = readiness.payload_pool(spec, verified.expected, server.plan.endpoint.predict_path)
        readiness.wait_until_right(server, pool)
        pool.save(work / "pool.zip")
        yield server, work / "pool.zip"


def print_progress(title: str, text: str) -> None:
    """Print progress on stderr."""
    print(f"{title}: {text}", file=sys.stderr, flush=True)


def soak(target: str, rate_per_s: float, options: argparse.Namespace) -> tuple[RoundResult, Watch]:
    """Load one server for as long as asked, watching it."""
    with tempfile.TemporaryDirectory(prefix="soak-") as name:
        work = Path(name)
        with started(target, options, work) as (server, pool):
            interval_s = max(1.0, options.seconds / SAMPLES_WANTED)
            watch = Watch(server.pid, interval_s, partial(print_progress, target))
            whole = plan(server, rate_per_s, options.seconds, pool, work)
            warming = replace(whole, load="closed:1", duration_s=min(WARMING_S, options.seconds / 4))
            generate(warming, work, lambda _report, _pid: False)
            result, _ = generate(whole, work, watch.listen)
            watch.save(Path(f"soak-{target}.csv"))
            server.require_alive("at the end of the soak")
            if result.errors_count:
                keep_log(server, Path(f"soak-{target}.log"))
    return result, watch


def keep_log(server: Server, kept: Path) -> None:
    """Keep the ends of the server's log, which says whose fault it was and goes with its folder."""
    copy_ends(server.plan.launch.log, kept)
    print_progress(server.plan.target, f"requests failed; the beginning and end of its log are in {kept}")


def plan(server: Server, rate_per_s: float, seconds: float, pool: Path, work: Path) -> RoundPlan:
    """Plan one round of the whole length."""
    return RoundPlan(
        url_base=server.plan.endpoint.base_url,
        load=f"open:{rate_per_s:g}",
        warmup_limit_s=min(30.0, seconds / 4),
        duration_s=seconds,
        pool_file=pool,
        samples_file=work / "samples.parquet",
        result_file=work / "result.json",
        check_share=0.1,
        seed=1,
        timeout_s=10,
        cores=split_cores().generator,
        cores_shared=split_cores().shared,
        reports_seconds=True,
    )


def rates(options: argparse.Namespace) -> dict[str, float]:
    """Return requests per second by target: those typed, else half of what the SLO search of --run found."""
    if options.rate:
        return {name: float(value) for name, _, value in (one.partition("=") for one in options.rate)}
    found = read_run(options.run).slo
    known = {name: one.rate_per_s for name, one in found.targets.items()} if found else {}
    if not any(known.values()):
        raise SystemExit(f"{options.run} is no SLO search that found a rate; give --rate TARGET=PER_SECOND")
    return {name: rate / 2 for name, rate in known.items() if rate}


def told(target: str, rate_per_s: float, result: RoundResult, watch: Watch) -> bool:
    """Print what one server did; whether it did well."""
    print(f"{target} at {rate_per_s:g}/s for {result.window_s:.0f} s: {result.requests_count} requests, "
          f"{result.errors_count} failed, {result.wrong_count} wrong")  # fmt: skip
    for error in result.errors:
        print(f"  {error.count} times {error.kind}: {error.example}")
    good = result.errors_count == result.wrong_count == 0 and not result.interrupted
    for name, found in watch.slopes().items():
        first, last = watch.values[name][0], watch.values[name][-1]
        kept = found.low <= LIMITS_PER_HOUR[name]
        good = good and kept
        print(f"  {name:<12} {first:9.1f} → {last:9.1f}   slope {found.per_hour:+9.2f} an hour "
              f"({found.low:+.2f} to {found.high:+.2f}){'' if kept else '  ABOVE ITS LIMIT'}")  # fmt: skip
    return good


def main() -> int:
    """Soak every server; 1 if one did not do well."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=HOUR_S, help="of load on each server")
    parser.add_argument("--rate", action="append", help="TARGET=REQUESTS_PER_SECOND, may be repeated")
    parser.add_argument("--run", type=Path, default=Path("runs/latest"), help="an SLO search, without --rate")
    parser.add_argument(
        "--preset", default=DEFAULT, help="how the servers are configured: a name or a .toml file"
    )
    parser.add_argument("--model", default="digits_cnn")
    parser.add_argument("--artifacts", type=Path, default=Path("artifacts"))
    options = parser.parse_args()
    try:
        with guarded():
            good = [told(t, rate, *soak(t, rate, options)) for t, rate in rates(options).items()]
    except (UserError, ValueError, FileNotFoundError) as error:
        raise SystemExit(f"soak: {error}") from error
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())

"""Conditioning: load on a fresh server until it has stopped getting faster, and the curve of its seconds."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from loadtests.arrivals import parse_load
from loadtests.conditioning import Judgement, Second, judge_seconds
from loadtests.plan import RoundPlan
from loadtests.recorder import Samples, read_samples
from loadtests.reports import Report
from loadtests.result import RoundResult
from loadtests.round_length import round_needed_s
from loadtests.statistics import succeeded
from pipelines.config import MeasureSettings, Profile
from pipelines.errors import MachineError
from pipelines.measure.generator import generate
from pipelines.record.conditioning import ConditioningRecord, SecondRecord
from pipelines.runners.server import Server

DEFAULT_LOAD = "closed:8"
"""Where a profile has no closed load: enough to keep a server busy, which is what warms it."""

LEAST_S = 10.0
"""No stretch shorter than this shows anything."""


@dataclass(frozen=True)
class Conditioned:
    """A conditioning; `stopped` when somebody asked to stop, `round_needed_s` what its wandering asks for."""

    record: ConditioningRecord
    round_needed_s: float | None
    stopped: bool


@dataclass
class _Watch:
    """Collects the seconds as the generator says them, and ends the load when the server is steady."""

    server: Server
    tell: Callable[[Second], None]
    seconds: list[Second] = field(default_factory=list)
    judgement: Judgement = field(default_factory=lambda: judge_seconds(()))
    _cpu_s: float = 0.0

    def __call__(self, report: Report, _generator_pid: int) -> bool:
        if report.kind == "closed":
            return False
        before_s, self._cpu_s = self._cpu_s, self.server.cpu_s()
        if report.kind == "opened":
            return False
        used_s = self._cpu_s - before_s
        self.seconds.append(Second(report.requests_count, report.p50_ms, used_s if used_s > 0 else None))
        self.judgement = judge_seconds(self.seconds)
        self.tell(self.seconds[-1])
        return self.judgement.state == "steady"


def condition(
    server: Server,
    pool_file: Path,
    samples_file: Path,
    block: int,
    settings: MeasureSettings,
    limit_s: float,
    tell: Callable[[Second], None],
) -> Conditioned:
    """Load a running server until it is steady, at most `limit_s` seconds; every second is told.

    Raises:
        MachineError: the server stopped answering, or the generator failed.
        KeyboardInterrupt: somebody asked to stop before anything was measured.
    """
    watch = _Watch(server, tell)
    load = conditioning_load(settings.profile)
    with tempfile.TemporaryDirectory(prefix="tandem-condition-") as name:
        plan = RoundPlan(
            url_base=server.plan.endpoint.base_url,
            load=load,
            warmup_limit_s=0.0,
            duration_s=limit_s,
            pool_file=pool_file,
            samples_file=samples_file,
            result_file=Path(name) / "result.json",
            check_share=settings.check_share,
            seed=settings.seed + 1000 * block,
            timeout_s=settings.timeout_s,
            cores=settings.cores.generator,
            cores_shared=settings.cores.shared,
            reports_seconds=True,
        )
        result, stopped = generate(plan, Path(name), watch)
    plan.warmup_file.unlink(missing_ok=True)
    server.require_alive("while it was conditioned")
    if result.server_gone:
        raise MachineError(f"{server.plan.target} stopped answering while it was conditioned")
    return Conditioned(
        _record(watch, result, load, block, samples_file),
        _round_needed_s(watch, result, samples_file),
        stopped,
    )


def conditioning_load(profile: Profile) -> str:
    """The closed load of the profile with the most users, which keeps a server busiest."""
    closed = [load for load in map(parse_load, profile.loads) if not load.is_open]
    return str(max(closed, key=lambda load: load.value)) if closed else DEFAULT_LOAD


def _record(
    watch: _Watch, result: RoundResult, load: str, block: int, samples_file: Path
) -> ConditioningRecord:
    judged = watch.judgement
    before = None if judged.until_steady_s is None else watch.seconds[: judged.until_steady_s]
    return ConditioningRecord(
        block=block,
        load=load,
        samples_file=f"samples/{samples_file.name}",
        state=judged.state,
        until_steady_s=judged.until_steady_s,
        until_steady_requests_count=None if before is None else sum(one.requests_count for one in before),
        duration_s=result.window_s,
        requests_count=result.requests_count,
        errors_count=result.errors_count,
        seconds=tuple(SecondRecord(**one._asdict()) for one in watch.seconds),
    )


def _round_needed_s(watch: _Watch, result: RoundResult, samples_file: Path) -> float | None:
    """From the steady stretch alone: a climb is no wandering."""
    if watch.judgement.until_steady_s is None or result.window_start_ns is None:
        return None
    samples: Samples = read_samples(samples_file)
    steady_ns = result.window_start_ns + round(watch.judgement.until_steady_s * 1e9)
    kept = succeeded(samples.status, samples.correct) & (samples.done_ns >= steady_ns)
    return round_needed_s(samples.done_ns[kept], (samples.done_ns - samples.sent_ns)[kept])

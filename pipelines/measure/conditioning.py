"""Conditioning: load on a fresh server until it has stopped getting faster, and the curve of its seconds."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from loadtests.arrivals import NS_PER_S, parse_load
from loadtests.conditioning import Judgement, Second, judge_seconds
from loadtests.plan import RoundPlan
from loadtests.recorder import read_samples
from loadtests.reports import Report
from loadtests.result import RoundResult
from loadtests.round_length import round_needed_s
from loadtests.statistics import succeeded
from pipelines.config.profiles import Profile
from pipelines.config.settings import MeasureSettings
from pipelines.measure.compilers import CompilerClock
from pipelines.measure.cpu import between_s
from pipelines.measure.generator import Generator, of_running, private_headers
from pipelines.record.conditioning import ConditioningRecord, SecondRecord
from pipelines.runners.server import Server
from pipelines.targets.address import URL

DEFAULT_LOAD: Final = "closed:8"
"""Where a profile has no closed load: enough to keep a server busy, which is what warms it."""

LEAST_S: Final = 10.0
"""No stretch shorter than this shows anything."""

TURN_S: Final = 7.0
"""Load between two pauses. A server that is steady from the start needs two turns: seven seconds, one that is
not judged, and three."""

EDGE_S: Final = 0.2
"""A second that ends with the load is not told any more, so a turn goes on for a moment."""

SHORTEST_TURN_S: Final = 1.0
CONDITIONED: Final = "while it was conditioned"


@dataclass(frozen=True)
class _Turn:
    """One stretch of load: where it begins among the seconds, and what came of it."""

    first_second: int
    result: RoundResult
    samples_file: Path


@dataclass
class Conditioning:
    """The load on one server until it is steady, turn by turn, at most `limit_s` seconds of it.

    Attributes:
        stem: of the turns' samples files, in the run's folder of samples.
        tell: is given all seconds so far whenever one is over.
    """

    generator: Generator
    server: Server
    pool_file: Path
    stem: Path
    block: int
    settings: MeasureSettings
    limit_s: float
    tell: Callable[[Sequence[Second]], None]
    seconds: list[Second] = field(default_factory=list)
    _turns: list[_Turn] = field(default_factory=list)

    @property
    def load(self) -> str:
        """The closed load of the profile with the most users, which keeps a server busiest."""
        return conditioning_load(self.settings.profile)

    @property
    def is_over(self) -> bool:
        """Whether the server is steady, or its seconds are used up."""
        return self._left_s < SHORTEST_TURN_S or self._judged.state == "steady"

    @property
    def _judged(self) -> Judgement:
        awaits = self.settings.profile.conditioning_awaits_compilers
        return judge_seconds(self.seconds, awaits_compilers=awaits)

    @property
    def _left_s(self) -> float:
        return self.limit_s - sum(turn.result.window_s for turn in self._turns)

    def turn(self) -> None:
        """Load the server, which runs, for a turn or until it is steady.

        Raises:
            MachineError: it stopped answering, or the generator failed.
            KeyboardInterrupt: the user asked to stop.
        """
        compilers = CompilerClock(self.server.pid)
        watch = _Watch(self.server, compilers, self._enter, after_pause=bool(self._turns))
        first, number = len(self.seconds), len(self._turns)
        samples_file = self.stem.with_name(f"{self.stem.name}-{number}.parquet")
        with tempfile.TemporaryDirectory(prefix="tandem-condition-") as name:
            plan = self._plan(number, samples_file, Path(name))
            result, stopped = self.generator.run(plan, Path(name), watch, private_headers(self.server))
        plan.warmup_file.unlink(missing_ok=True)
        self._turns.append(_Turn(first, result, samples_file))
        self.server.require_alive(CONDITIONED)
        if result.server_gone:
            self.server.explain_silence(CONDITIONED)
        if stopped:
            raise KeyboardInterrupt

    def _enter(self, second: Second) -> bool:
        """Keep a second and tell all of them; return whether they show a steady server."""
        self.seconds.append(second)
        self.tell(self.seconds)
        return self._judged.state == "steady"

    def _plan(self, number: int, samples_file: Path, folder: Path) -> RoundPlan:
        settings = self.settings
        return RoundPlan(
            url_base=self.server.plan.endpoint.base_url,
            load=self.load,
            warmup_limit_s=0.0,
            duration_s=min(TURN_S + EDGE_S, self._left_s),
            pool_file=self.pool_file,
            samples_file=samples_file,
            result_file=folder / "result.json",
            check_share=settings.check_share,
            seed=settings.seed + 1000 * self.block + number,
            timeout_s=settings.timeout_s,
            cores=settings.cores.generator,
            cores_shared=settings.cores.shared,
            reports_seconds=True,
            **of_running(self.server, settings.max_rate_per_s),
        )

    def records(self) -> tuple[ConditioningRecord, ...]:
        """Return what run.json holds of it; nothing before the first turn."""
        if not self._turns:
            return ()
        judged = self._judged
        # What a running endpoint answered before is not known.
        is_fresh = self.server.plan.implementation.runner != URL
        until_steady_s = judged.until_steady_s if is_fresh else None
        before = None if until_steady_s is None else self.seconds[:until_steady_s]
        results = [turn.result for turn in self._turns]
        record = ConditioningRecord(
            block=self.block,
            load=self.load,
            samples_files=tuple(f"samples/{turn.samples_file.name}" for turn in self._turns),
            state=judged.state,
            until_steady_s=until_steady_s,
            until_steady_requests_count=None
            if before is None
            else sum(second.requests_count for second in before),
            duration_s=sum(result.window_s for result in results),
            requests_count=sum(result.requests_count for result in results),
            errors_count=sum(result.errors_count for result in results),
            seconds=tuple(SecondRecord(**second._asdict()) for second in self.seconds),
        )
        return (record,)

    def round_needed_s(self) -> float | None:
        """Return how long rounds have to be, from the steady stretch alone: a climb is no wandering."""
        until_s = self._judged.until_steady_s
        if until_s is None:
            return None
        parts = [_steady_part(turn, until_s) for turn in self._turns]
        return round_needed_s(*_joined([part for part in parts if part is not None]))


@dataclass
class _Watch:
    """Makes a second of what the generator says, and ends the load when the server is steady with it."""

    server: Server
    compilers: CompilerClock
    enter: Callable[[Second], bool]
    after_pause: bool
    _cpu_s: float | None = 0.0
    _compilers_s: float | None = None

    def __call__(self, report: Report, _generator_pid: int) -> bool:
        if report.kind == "closed":
            return False
        before_s, self._cpu_s = self._cpu_s, self.server.cpu_s()
        compiled_s, self._compilers_s = self._compilers_s, self.compilers.read_s()
        if report.kind == "opened":
            return False
        used_s = between_s(before_s, self._cpu_s)
        resumed, self.after_pause = self.after_pause, False
        compilers_s = between_s(compiled_s, self._compilers_s)
        second = Second(report.requests_count, report.p50_ms, used_s or None, resumed, compilers_s)
        return self.enter(second)


def conditioning_load(profile: Profile) -> str:
    """Return the closed load of the profile with the most users, which keeps a server busiest."""
    closed = [load for load in map(parse_load, profile.loads) if not load.is_open]
    return str(max(closed, key=lambda load: load.value)) if closed else DEFAULT_LOAD


Times = tuple[NDArray[Any], NDArray[Any]]
"""When requests were done and how long they took, nanoseconds, shape (requests,) each."""


def _steady_part(turn: _Turn, until_s: int) -> Times | None:
    """Return the turn's successes from second `until_s` of all load on, but for the second after a pause."""
    start_ns = turn.result.window_start_ns
    if start_ns is None:
        return None
    unjudged_s = 1 if turn.first_second else 0
    samples = read_samples(turn.samples_file)
    begin_ns = start_ns + round(max(unjudged_s, until_s - turn.first_second) * NS_PER_S)
    counted = succeeded(samples.status, samples.correct) & (samples.done_ns >= begin_ns)
    return samples.done_ns[counted], (samples.done_ns - samples.sent_ns)[counted]


def _joined(parts: list[Times]) -> Times:
    """Join the parts one after another, as if there had been no pauses between them."""
    done, end_ns = [np.empty(0, np.int64)], 0
    for done_ns, _ in parts:
        if len(done_ns):
            done.append(done_ns - done_ns.min() + end_ns)
            end_ns = int(done[-1].max())
    return np.concatenate(done), np.concatenate([np.empty(0, np.int64), *(latency for _, latency in parts)])

"""Trying one configuration: a fresh server of its own, right answers, conditioning, and its highest rate."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from loadtests.rates import Phase, RateMeasurement
from loadtests.reason import Reason
from loadtests.rounds import PlannedRound
from pipelines.compare.slo import (
    as_rate_measurement,
    likely_rate_per_s,
    rate_point,
    rate_round_s,
    search_timeout_s,
)
from pipelines.errors import GateError, MachineError
from pipelines.measure.blocks import fresh_servers, measure_once
from pipelines.measure.session import Measured, Session
from pipelines.measure.sides import make_sides
from pipelines.record.reason import reason, recorded
from pipelines.record.slo import RatePointRecord
from pipelines.record.tune import TuneTrialRecord
from pipelines.run.run import Run
from pipelines.runners.server import Runner, Server
from pipelines.targets.presets import Preset
from pipelines.targets.side import SideSpec
from pipelines.tasks.tasks import Progress
from pipelines.tune.rate_search import LIMITS, Bracket, bracket

BLOCK = 0
SECONDS_LOOKED_AT = 5


@dataclass(frozen=True)
class Candidate:
    """What is tried next: `levels` by axis, none of a preset that stands beside the search."""

    number: int
    preset: Preset
    levels: dict[str, str]
    must_start: bool = False


@dataclass
class _Trial:
    """One trial on its way, in a session of its own."""

    run: Run
    session: Session
    name: str
    limit_ms: float
    points: list[RatePointRecord] = field(default_factory=list)

    @property
    def measured(self) -> Measured:
        return self.session.measured[self.name]

    def measure(self, servers: dict[str, Server], rate_per_s: float, phase: Phase) -> RateMeasurement:
        """Measure one round at a rate, and keep the point whatever it shows."""
        planned = PlannedRound(BLOCK, f"open:{rate_per_s:.6g}", len(self.points), self.name)
        window_s = rate_round_s(self.run.settings.profile, rate_per_s)
        timeout_s = search_timeout_s(self.limit_ms, self.run.settings.timeout_s)
        driven = measure_once(self.session, planned, 0, servers, window_s, timeout_s=timeout_s)
        measurement = as_rate_measurement(driven, rate_per_s, self.run.folder)
        self.points.append(rate_point(driven, measurement, self.limit_ms, phase))
        return measurement


def rounds_so_far(run: Run) -> int:
    """Return the index of the run's next round; none is used twice, even after an interruption."""
    sides = run.tune.sides.values() if run.tune else ()
    return 1 + max((r.index for side in sides for trial in side.trials for r in trial.rounds), default=-1)


def try_candidate(
    run: Run,
    runner: Runner,
    side: SideSpec,
    candidate: Candidate,
    best: TuneTrialRecord | None,
    progress: Progress,
) -> TuneTrialRecord:
    """Measure a candidate as far as it matters beside the best so far.

    Raises:
        MachineError, GateError: a configuration that has to start did not, or gave wrong answers; of any
            other that is a trial that failed.
        KeyboardInterrupt: the user asked to stop; the trial is not kept.
    """
    assert run.tune is not None  # noqa: S101 - it is a search's run
    began_s = time.monotonic()
    trial = _begin(run, runner, side, candidate, progress)
    start_s: float | None = None
    tried: Bracket | None = None
    why: Reason | None = None
    try:
        with fresh_servers(trial.session, BLOCK) as servers:
            start_s = time.monotonic() - began_s
            tried = bracket(
                partial(trial.measure, servers),
                p99_limit_ms=trial.limit_ms,
                start_rate_per_s=likely_rate_per_s(trial.measured.conditionings),
                to_beat_per_s=best.rate_per_s if best else None,
                limits=LIMITS,
            )
    except (MachineError, GateError) as error:
        if candidate.must_start:
            raise
        why = Reason("trial_failed", {"error": str(error)})
    return _record(trial, candidate, tried, why, best, start_s, time.monotonic() - began_s)


def _begin(run: Run, runner: Runner, side: SideSpec, candidate: Candidate, progress: Progress) -> _Trial:
    name = f"{side.target}:trial{candidate.number}"
    own = replace(side, name=name, preset=candidate.preset)
    settings = run.settings.model_copy(update={"sides": (own,)})
    profile = settings.profile.model_copy(update={"control": False, "null": False})
    settings = settings.model_copy(update={"profile": profile})
    sides = make_sides(settings, run.spec, run.verified, runner)
    session = Session(settings, sides, run.folder, progress, counted=False, rounds_count=rounds_so_far(run))
    assert run.tune is not None  # noqa: S101 - it is a search's run
    return _Trial(run, session, name, run.tune.p99_limit_ms)


def _record(
    trial: _Trial,
    candidate: Candidate,
    tried: Bracket | None,
    why: Reason | None,
    best: TuneTrialRecord | None,
    start_s: float | None,
    duration_s: float,
) -> TuneTrialRecord:
    beaten = tried is not None and tried.outcome == "beaten"
    return TuneTrialRecord(
        number=candidate.number,
        preset=candidate.preset.name,
        levels=candidate.levels,
        settings=candidate.preset.settings.given(),
        outcome=tried.outcome if tried else "failed",
        rate_per_s=tried.rate_per_s if tried else None,
        breaks_at_per_s=tried.breaks_at_per_s if tried else None,
        beaten_by=best.number if beaten and best else None,
        closed_throughput_per_s=_closed_throughput(trial.measured),
        start_s=start_s,
        duration_s=duration_s,
        reason=recorded(tried.reason) if tried else recorded(why) if why else reason("not_recorded"),
        points=tuple(trial.points),
        rounds=tuple(trial.measured.rounds),
    )


def _closed_throughput(measured: Measured) -> float | None:
    """Return answers per second at the end of the conditioning: the mean of its last seconds."""
    seconds = measured.conditionings[-1].seconds[-SECONDS_LOOKED_AT:] if measured.conditionings else ()
    return sum(second.requests_count for second in seconds) / len(seconds) if seconds else None


Try = Callable[[Candidate, TuneTrialRecord | None], TuneTrialRecord]
"""Measures a candidate beside the best so far."""


def best_trial(trials: Sequence[TuneTrialRecord]) -> TuneTrialRecord | None:
    """Return the trial with the highest rate, the first of several; None if none has one."""
    with_rate = [trial for trial in trials if trial.rate_per_s is not None]
    return max(with_rate, key=lambda trial: trial.rate_per_s or 0.0, default=None)

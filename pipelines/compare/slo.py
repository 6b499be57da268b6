"""The slo stage: for every target the highest Poisson rate that keeps p99 within a limit, block by block."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median

from loadtests.rates import Phase, RateMeasurement, SearchLimits, as_measurement
from loadtests.rounds import PlannedRound, rotated
from loadtests.slo import DOUBLE, SloResult, search
from loadtests.statistics import samples_needed
from pipelines.config.profiles import Profile
from pipelines.config.settings import RunSettings
from pipelines.errors import RequestError
from pipelines.judge.summarise import summarise_round
from pipelines.measure.blocks import fresh_servers, measure_once
from pipelines.measure.round import Driven
from pipelines.measure.session import round_s
from pipelines.record.conditioning import ConditioningRecord
from pipelines.record.reason import recorded
from pipelines.record.run import RunRecord
from pipelines.record.slo import RatePointRecord, SloBlockRecord, SloRecord, SloTargetRecord
from pipelines.report.sentences import sentence
from pipelines.run.run import Run, conclude, start_run
from pipelines.runners.server import Runner, Server
from pipelines.tasks.tasks import Progress
from pipelines.units import MS_PER_S

START_RATE_PER_S = 50.0
LIKELY_SHARE = 0.5
"""Of a closed load's throughput: an open load with a limit on its p99 takes some such part of it, or less."""
SECONDS_LOOKED_AT = 5
QUICK_BLOCKS = 3
"""Of the profile quick, unless asked otherwise: a search is one observation, and two tell no spread."""
# An open load's arrivals vary: a round long enough on average would often be a few requests short.
SPARE = 1.15
# A rate near the server's means or beyond never becomes steady; what it does to p99 shows soon enough.
WARMUP_LIMIT_S = 1.0
# A request that takes so many times the limit tells no more by being waited for.
TIMEOUT_FACTOR, TIMEOUT_LEAST_S = 100, 2.0
CONDITIONING_ROUND_S = 8.0
"""With its warm-up, nine seconds of an open load: before any round counts, until compilers rest or the limit
is kept."""
# Of any profile, which has a resolution of its own.
LIMITS = SearchLimits(
    bound_resolution=0.15,
    confirmations_failed=1,
    conditioning_rounds=3,
    compiling_rounds=6,
    rechecks=3,
    recheck_steps=2,
    min_rate_per_s=5.0,
    most_measurements=60,
    # As long as it takes until a machine that has become slower counts as one of that speed, two minutes.
    most_invalid=25,
)
USUAL_ROUNDS = (12, 30)
"""Of a first search; the later ones begin at the bracket that the last one found."""
USUAL_LATER_ROUNDS = (8, 30)
UNKNOWN_TARGET = SloTargetRecord(
    rate_per_s=None,
    interval=None,
    block_rates_per_s=(),
    lower_bound=False,
    cost_per_million=None,
    cost_interval=None,
    points=(),
    reason=None,
)
Bracket = tuple[float, float | None]
"""The highest rate that kept a limit, and the lowest that did not, where one is known."""
PRICE_LIMIT = 1e9


@dataclass(frozen=True)
class SloQuestion:
    """The limit of p99 in ms, and what an hour of the machine costs (any currency; None not to ask)."""

    p99_limit_ms: float
    hourly_price: float | None


def require_possible(question: SloQuestion, timeout_ms: float) -> None:
    """Refuse a question that has no answer.

    Raises:
        RequestError: a limit or a price that cannot be.
    """
    if not 0 < question.p99_limit_ms <= timeout_ms:
        raise RequestError(
            f"--p99-ms is {question.p99_limit_ms:g}; a limit is above 0 and at most {timeout_ms:g}, when a "
            "request has failed, such as 20"
        )
    if question.hourly_price is not None and not 0 < question.hourly_price <= PRICE_LIMIT:
        raise RequestError(
            f"--hourly-price is {question.hourly_price:g}; a price is above 0 and at most {PRICE_LIMIT:g}"
        )


def search_slo(
    question: SloQuestion,
    settings: RunSettings,
    runner: Runner,
    command: Sequence[str],
    progress: Progress,
) -> tuple[RunRecord, Path]:
    """Search every target's highest rate once per block; returns the finished record and its folder.

    Raises:
        As `compare`; RequestError also for a limit or a price that cannot be.
    """
    require_possible(question, settings.timeout_s * MS_PER_S)
    run = start_run("slo", without_extras(settings), runner, command, progress)
    names = [side.name for side in run.session.sides]
    run.slo = empty_slo(question, names, run.settings.profile.slo_resolution)
    windows_s = [least_round_s(run.settings.profile)] * len(names)
    progress("slo", f"{expected(run.settings, windows_s)}, into {run.folder}")
    return conclude(run, partial(_measure, question=question)), run.folder


def expected(settings: RunSettings, windows_s: Sequence[float]) -> str:
    """Estimate how many rounds there will be and how long they take, as far as a search allows.

    Args:
        windows_s: length of a round's window, for each side.
    """
    blocks, sides_count = settings.profile.blocks, len(windows_s)
    per_side = [
        first + (blocks - 1) * later for first, later in zip(USUAL_ROUNDS, USUAL_LATER_ROUNDS, strict=True)
    ]
    all_sides_s = sum(round_s(settings, window_s) for window_s in windows_s)
    least, most = (count * all_sides_s / 60 for count in per_side)
    counts = [count * sides_count for count in per_side]
    return (
        f"{blocks * sides_count} searches, usually {counts[0]} to {counts[1]} rounds in all, "
        f"at most {LIMITS.most_measurements} each; about {least:.0f} to {most:.0f} min"
    )


def without_extras(settings: RunSettings) -> RunSettings:
    """Leave out the control, the null server and retries: a search compares what targets sustain.

    Nor does a closed load wait for compilers, which meet other code under an open one and are awaited there.
    """
    changes = {
        "control": False,
        "null": False,
        "warmup_limit_s": WARMUP_LIMIT_S,
        "retries": 0,
        "conditioning_awaits_compilers": False,
    }
    return settings.model_copy(update={"profile": settings.profile.model_copy(update=changes)})


def empty_slo(question: SloQuestion, names: list[str], resolution: float) -> SloRecord:
    """Return a search record without results; the first side is the candidate, the second the baseline."""
    return SloRecord(
        p99_limit_ms=question.p99_limit_ms,
        resolution=resolution,
        hourly_price=question.hourly_price,
        targets=dict.fromkeys(names, UNKNOWN_TARGET),
        candidate=names[0],
        baseline=names[1] if len(names) > 1 else None,
        ratio=None,
        interval=None,
        reason=None,
    )


def _measure(run: Run, question: SloQuestion) -> None:
    names = [side.name for side in run.session.sides]
    for block in range(run.settings.profile.blocks):
        with fresh_servers(run.session, block) as servers:
            if block == 0:
                run.session.say(
                    f"now that their speed is known: {expected(run.settings, _windows_s(run, names))}"
                )
            for name in rotated(names, block):
                search_one(run, question, block, name, servers)


def _windows_s(run: Run, names: Sequence[str]) -> list[float]:
    """Return how long a round of each side is at a rate that it is likely to sustain."""
    rates_per_s = [likely_rate_per_s(run.session.measured[name].conditionings) for name in names]
    return [rate_round_s(run.settings.profile, rate_per_s) for rate_per_s in rates_per_s]


def search_one(
    run: Run,
    question: SloQuestion,
    block: int,
    name: str,
    servers: dict[str, Server],
    known: Bracket | None = None,
    most_measurements: int = LIMITS.most_measurements,
) -> None:
    """Search the highest rate of one side in one block; what it finds is noted in the run.

    Args:
        known: a bracket of an earlier search, to begin at while no block has found one.
        most_measurements: rounds at which the search ends with what it has confirmed.
    """
    points: list[RatePointRecord] = []

    def measure(rate_per_s: float, phase: Phase) -> RateMeasurement:
        planned = PlannedRound(block, f"open:{rate_per_s:.6g}", len(points), name)
        profile = run.settings.profile
        driven = measure_once(
            run.session,
            planned,
            0,
            servers,
            max(rate_round_s(profile, rate_per_s), CONDITIONING_ROUND_S if phase == "condition" else 0.0),
            timeout_s=search_timeout_s(question.p99_limit_ms, run.settings.timeout_s),
        )
        found = as_rate_measurement(driven, rate_per_s, run.folder)
        points.append(rate_point(driven, found, question.p99_limit_ms, phase))
        return found

    done = run.slo_points.setdefault(name, [])
    limits = replace(_limits(run, name), most_measurements=most_measurements)
    start_rate_per_s, first_step = beginning(run, name, known)
    start_rate_per_s = min(start_rate_per_s, limits.max_rate_per_s)
    try:
        result = search(
            measure,
            p99_limit_ms=question.p99_limit_ms,
            start_rate_per_s=start_rate_per_s,
            first_step=first_step,
            limits=limits,
        )
        _note(run, name, block, result)
    finally:
        done.extend(points)


def _limits(run: Run, name: str) -> SearchLimits:
    """Return the usual limits, with the highest rate that a running endpoint allows.

    A profile that conditions no server conditions none with an open load either.
    """
    limits = replace(LIMITS, resolution=run.slo.resolution) if run.slo else LIMITS
    if not run.settings.profile.conditioning_limit_s:
        limits = replace(limits, conditioning_rounds=0, compiling_rounds=0)
    most = run.settings.max_rate_per_s
    if most is None or name not in {side.name for side in run.settings.running}:
        return limits
    return replace(limits, max_rate_per_s=most, min_rate_per_s=min(limits.min_rate_per_s, most))


def beginning(run: Run, name: str, known: Bracket | None = None) -> tuple[float, float]:
    """Return where a search begins, and its first step: at the bracket of the last block that found one.

    The first one begins well below what the server did while it was conditioned: low rates need long rounds.
    """
    blocks, resolution = (run.slo.targets[name].blocks, run.slo.resolution) if run.slo else ((), 0.0)
    found = [(one.rate_per_s, one.breaks_at_per_s) for one in blocks if one.rate_per_s]
    if known is not None:
        found.insert(0, known)
    if not found:
        return likely_rate_per_s(run.session.measured[name].conditionings), DOUBLE
    passes, breaks = found[-1]
    step = DOUBLE if breaks is None else breaks / passes
    return passes, min(max(step, 1 + resolution), DOUBLE)


def likely_rate_per_s(conditionings: Sequence[ConditioningRecord]) -> float:
    """Estimate a rate from the last conditioning's final throughput; START_RATE_PER_S without one."""
    seconds = conditionings[-1].seconds[-SECONDS_LOOKED_AT:] if conditionings else ()
    if not seconds:
        return START_RATE_PER_S
    throughput_per_s = median(second.requests_count for second in seconds)
    return max(throughput_per_s * LIKELY_SHARE, LIMITS.min_rate_per_s)


def least_round_s(profile: Profile) -> float:
    """Return how long rounds of a search are at least, seconds."""
    return profile.slo_round_s or profile.round_s


def rate_round_s(profile: Profile, rate_per_s: float) -> float:
    """Return a window long enough for a p99, and never shorter than the profile's rounds of a search."""
    return max(least_round_s(profile), SPARE * samples_needed(99) / rate_per_s)


def search_timeout_s(p99_limit_ms: float, timeout_s: float) -> float:
    """Return when a request of a search has failed: an overload breaks the rate, and is over sooner."""
    enough_s = max(TIMEOUT_FACTOR * p99_limit_ms / MS_PER_S, TIMEOUT_LEAST_S)
    return min(timeout_s, enough_s)


def as_rate_measurement(driven: Driven, rate_per_s: float, folder: Path) -> RateMeasurement:
    """Measure a rate from the raw file of its round."""
    record = summarise_round(driven.record, folder)
    errors_share = record.errors_count / record.requests_count if record.requests_count else 1.0
    compilers_s, server_s = record.compilers_cpu_s, record.server_cpu_s
    return as_measurement(
        rate_per_s,
        record.latency_ms.p99,
        errors_share,
        driven.found,
        record.cpu_steal_share,
        None if compilers_s is None or server_s is None else compilers_s / server_s,
    )


def rate_point(driven: Driven, found: RateMeasurement, p99_limit_ms: float, phase: Phase) -> RatePointRecord:
    """Record the round as a point, with what it was for."""
    usable = found.valid and found.delivered
    kept = found.p99_ms is not None and found.p99_ms <= p99_limit_ms
    return RatePointRecord(
        round_index=driven.record.index,
        block=driven.record.block,
        phase=phase,
        rate_per_s=found.rate_per_s,
        p99_ms=found.p99_ms,
        errors_share=found.errors_share,
        met=kept and found.errors_share <= LIMITS.errors_share if usable else None,
        reasons=tuple(map(recorded, found.reasons)),
    )


def _note(run: Run, name: str, block: int, result: SloResult) -> None:
    """Enter one block's result; `pipelines.judge.slo.judge_slo` makes the figures of all blocks."""
    if run.slo is None:
        return
    before = run.slo.targets[name]
    found = SloBlockRecord(
        block=block,
        outcome=result.outcome,
        rate_per_s=result.rate_per_s,
        breaks_at_per_s=result.breaks_at_per_s,
        rounds_count=len(result.measurements),
        reason=recorded(result.reason),
    )
    after = before.model_copy(update={"blocks": (*before.blocks, found)})
    run.slo = run.slo.model_copy(update={"targets": {**run.slo.targets, name: after}})
    run.session.say(f"{name}: {sentence(recorded(result.reason))}")

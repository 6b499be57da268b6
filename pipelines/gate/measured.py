"""Measured metrics of a pair: the figures of both sides, their ratio, and how far it is from the limit."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from loadtests.intervals import (
    CONFIDENCE,
    RatioEstimate,
    RatioInterval,
    estimate_ratio,
    estimate_unpaired,
)
from loadtests.sequential import Look, look_confidence, repeated
from loadtests.verdict import MOST_ROUNDS, Verdict, decide, larger_floor, still_warming_up
from pipelines.gate.baseline import Pair
from pipelines.gate.finding import Finding, unknown
from pipelines.gate.limits import Limit, Metric
from pipelines.judge.summarise import looks_of
from pipelines.judge.verdicts import logs_by_block, metric_value, pair_rounds, still_climbs
from pipelines.record.reason import reason
from pipelines.record.target import TargetRecord
from pipelines.report import pick

RECORDED = {"throughput": "throughput_per_s"}


@dataclass(frozen=True)
class Question:
    """A measured metric of a pair, not judged yet.

    Attributes:
        floor: the noise floor of the pair; None without one. 0 for what is one figure per fresh server, whose
            intervals hold all that differs from start to start.
        floorless: names of the sides without a floor.
        climbing: names of the sides that still warmed up.
    """

    pair: Pair
    limit: Limit
    load: str | None
    estimate: RatioEstimate
    floor: float | None
    baseline: float | None
    candidate: float | None
    floorless: tuple[str, ...] = ()
    climbing: tuple[str, ...] = ()

    @cached_property
    def usual(self) -> RatioInterval:
        """The 95 % interval."""
        return self.estimate.interval()

    def verdict(self, confidence: float) -> Verdict:
        """Return the verdict whose margin is the limit, by the interval of that confidence."""
        if self.climbing:
            return still_warming_up(self.climbing)
        return decide(
            self.estimate.interval(confidence),
            lower_is_better=not self.limit.metric.falls,
            margin=self.limit.margin,
            noise_floor=self.floor,
            without_floor=self.floorless,
        )

    @property
    def passes_by_itself(self) -> bool:
        """Whether the factor, without its interval, keeps the limit."""
        return self._room > 0

    @property
    def _room(self) -> float:
        """From the factor to the limit, in logarithms; below 0 beyond it."""
        sign = -1 if self.limit.metric.falls else 1
        return math.log1p(self.limit.margin) - sign * self.estimate.centre

    @property
    def rounds_needed(self) -> int | None:
        """Further pairs until an interval that shrinks with their root keeps the limit; None if too many."""
        low, high = math.log(self.usual.low), math.log(self.usual.high)
        reach = self.estimate.centre - low if self.limit.metric.falls else high - self.estimate.centre
        total = self.estimate.pairs_count * (reach / self._room) ** 2
        needed = total - self.estimate.pairs_count
        return max(1, math.ceil(needed)) if needed <= MOST_ROUNDS else None

    @property
    def within_limit(self) -> bool:
        """Whether the 95 % interval ends before the limit, however much better the candidate may be."""
        if self.limit.metric.falls:
            return self.usual.low >= 1 / (1 + self.limit.margin)
        return self.usual.high <= 1 + self.limit.margin


def of_rounds(pair: Pair, limit: Limit, seed: int) -> Iterator[Question | Finding]:
    """Ask once for each load, of what every round has a figure of."""
    metric = _recorded(limit.metric.key)
    for load in dict.fromkeys(record.load for record in pair.ours.rounds):
        figures = [_summary(target, load, metric) for target in (pair.theirs, pair.ours)]
        estimate = _estimate(pair, load, metric, seed)
        if estimate is None:
            yield unknown(pair, limit, load, reason("too_few_pairs"), *figures)
            continue
        floors = _floors(pair, load, metric)
        yield Question(
            pair=pair,
            limit=limit,
            load=load,
            estimate=estimate,
            floor=larger_floor(list(floors.values())),
            baseline=figures[0],
            candidate=figures[1],
            floorless=tuple(name for name, floor in floors.items() if floor is None),
            climbing=_climbing(pair, load),
        )


def _recorded(metric: str) -> str:
    return RECORDED.get(metric, metric)


def has_figure(target: TargetRecord, finding: Finding) -> bool:
    """Return whether any round under the finding's load has the figure, an invalid one too."""
    metric = _recorded(finding.metric)
    rounds = (record for record in target.rounds if record.load == finding.load)
    return any(metric_value(record, metric) is not None for record in rounds)


def _climbing(pair: Pair, load: str) -> tuple[str, ...]:
    sides = ((pair.candidate, pair.ours), (pair.baseline, pair.theirs))
    return tuple(dict.fromkeys(name for name, target in sides if still_climbs(target, load)))


def _estimate(pair: Pair, load: str, metric: str, seed: int) -> RatioEstimate | None:
    if pair.interleaved:
        return _looked_at(pair, pair_rounds(pair.ours, pair.theirs, load, metric).estimate(seed))
    ours, theirs = (logs_by_block(target, load, metric) for target in (pair.ours, pair.theirs))
    return _looked_at(pair, estimate_unpaired(ours, theirs, seed=seed))


def _looked_at(pair: Pair, estimate: RatioEstimate | None) -> RatioEstimate | None:
    """Return the estimate as wide as the looks of its runs need, if they ended when they were decided."""
    looks = looks_of(pair.candidate_run)
    if estimate is None:
        return None
    if pair.interleaved:
        return repeated(estimate, looks) if looks else estimate
    return stopped(estimate, (looks, looks_of(pair.baseline_run)))


def stopped(estimate: RatioEstimate, looks_by_run: Sequence[tuple[Look, ...]]) -> RatioEstimate:
    """Return the estimate from two runs of which one or both ended when they were decided."""
    looks = tuple(looks for looks in looks_by_run if looks)
    for own in looks:  # which also holds what blocks differ by, for a run that ended after one
        estimate = repeated(estimate, own)
    if not looks:
        return estimate
    return StoppedEstimate(
        centre=estimate.centre,
        deviations=estimate.deviations,
        standard_error=estimate.standard_error,
        degrees=estimate.degrees,
        blocks_count=estimate.blocks_count,
        pairs_count=estimate.pairs_count,
        looks=looks,
    )


@dataclass(frozen=True)
class StoppedEstimate(RatioEstimate):
    """A ratio of two runs, each of which may have ended at one of its looks.

    The error that the first run may spend at its last look is what all looks of the second may spend: no pair
    of looks then leaves out the truth in more than 5 % of pairs of runs, whatever made either end
    (docs/gate.md has the simulation).
    """

    looks: tuple[tuple[Look, ...], ...] = ()

    def interval(self, confidence: float = CONFIDENCE) -> RatioInterval:
        """Return the interval, as wide as the looks of both runs need for that coverage."""
        level = confidence
        for own in self.looks:
            level = look_confidence(own, level)
        return replace(super().interval(level), confidence=confidence)


def _floors(pair: Pair, load: str, metric: str) -> dict[str, float | None]:
    """Return the noise floors of both sides, each from its own run."""
    sides = ((pair.candidate_run, pair.candidate), (pair.baseline_run, pair.baseline))
    labels = ("candidate", "baseline") if not pair.interleaved else (pair.candidate, pair.baseline)
    return {
        label: next(
            (
                control.noise_floor
                for control in run.controls
                if (control.target, control.load, control.metric) == (name, load, metric)
            ),
            None,
        )
        for label, (run, name) in zip(labels, sides, strict=True)
    }


def _summary(target: TargetRecord, load: str, metric: str) -> float | None:
    summary = pick.summary_of(target, load)
    if summary is None:
        return None
    value: float | None = (
        summary.throughput_per_s if metric == "throughput_per_s" else getattr(summary.latency_ms, metric)
    )
    return value


def of_blocks(pair: Pair, limit: Limit, seed: int) -> Iterator[Question | Finding]:
    """Ask of what every fresh server has one figure of."""
    theirs, ours = (_starts(target, limit.metric) for target in (pair.theirs, pair.ours))
    figures = [max(starts.values(), default=None) for starts in (theirs, ours)]
    if limit.metric.key == "memory" and pair.ours.memory.source != pair.theirs.memory.source:
        counted = [target.memory.source or "none" for target in (pair.theirs, pair.ours)]
        why = reason("counted_differently", baseline=counted[0], candidate=counted[1])
        yield unknown(pair, limit, None, why, *figures)
        return
    if pair.interleaved:
        both = sorted(ours.keys() & theirs.keys())
        estimate = estimate_ratio([[math.log(ours[b] / theirs[b])] for b in both], seed=seed)
    else:
        logarithms = ([[math.log(value)] for value in starts.values()] for starts in (ours, theirs))
        estimate = estimate_unpaired(*logarithms, seed=seed)
    estimate = _looked_at(pair, estimate)
    if estimate is None:
        yield unknown(pair, limit, None, reason("too_few_blocks"), *figures)
    else:
        yield Question(pair, limit, None, estimate, 0.0, baseline=figures[0], candidate=figures[1])


def _starts(target: TargetRecord, metric: Metric) -> dict[int, float]:
    if metric.key == "memory":
        return {peak.block: float(peak.peak_bytes) for peak in target.memory.block_peaks if peak.peak_bytes}
    return {
        start.block: start.first_right_answer_s for start in target.cold_starts if start.first_right_answer_s
    }

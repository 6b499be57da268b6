"""From summarised rounds to ratios with intervals, noise floors, and verdicts."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from typing import Any

from loadtests.drift import FEWEST_ROUNDS
from loadtests.intervals import FEWEST_PAIRS, RatioEstimate, estimate_alike, estimate_ratio
from loadtests.multiplicity import Corrected, holm
from loadtests.sequential import ASSUMED_FLOOR, Look, repeated
from loadtests.validity import spoils
from loadtests.verdict import Verdict, decide, larger_floor, noise_floor, still_warming_up
from pipelines.record.comparison import ComparisonRecord, ControlRecord
from pipelines.record.reason import reason, recorded
from pipelines.record.rounds import RoundRecord
from pipelines.record.target import SummaryRecord, TargetRecord

METRICS = ("p50", "p95", "p99", "throughput_per_s")
HIGHER_IS_BETTER = frozenset({"throughput_per_s"})
PRIMARY = "p99"

Targets = Mapping[str, TargetRecord]
Place = tuple[int, int]
"""Block and repetition of a round."""


def metric_value(record: RoundRecord | SummaryRecord, metric: str) -> float | None:
    """Return a percentile in ms or the throughput per second, by name."""
    if metric == "throughput_per_s":
        return record.throughput_per_s
    value: float | None = getattr(record.latency_ms, metric)
    return value


@dataclass(frozen=True)
class Pairs:
    """Ratios candidate / baseline of paired valid rounds, block by block, as natural logarithms."""

    by_block: tuple[tuple[float, ...], ...]

    @property
    def count(self) -> int:
        """All pairs."""
        return sum(map(len, self.by_block))

    @property
    def round_range(self) -> tuple[float, float] | None:
        """The smallest and the largest single ratio."""
        return (min(self.ratios), max(self.ratios)) if self.ratios else None

    @property
    def ratios(self) -> tuple[float, ...]:
        """Every single ratio, in the order of blocks and repetitions."""
        return tuple(math.exp(value) for block in self.by_block for value in block)

    def estimate(self, seed: int) -> RatioEstimate | None:
        """Return the ratio, ready for intervals; None with fewer than two pairs."""
        return estimate_ratio(self.by_block, seed=seed)


def pair_rounds(candidate: TargetRecord, baseline: TargetRecord, load: str, metric: str) -> Pairs:
    """Pair valid rounds of the same block, load and repetition, which were measured one after the other.

    Pairs of which a figure is spoilt by stolen time are left out, but for blocks that have no others.
    """
    ours, theirs = _figures(candidate, load, metric), _figures(baseline, load, metric)
    ratios = {
        place: _Figure(
            math.log(ours[place].value / theirs[place].value), ours[place].spoilt or theirs[place].spoilt
        )
        for place in ours.keys() & theirs.keys()
    }
    return Pairs(_in_blocks({place: ratio.value for place, ratio in _least_spoilt(ratios).items()}))


def by_place(target: TargetRecord, load: str, metric: str) -> dict[Place, float]:
    """Return the metric of every valid round under a load that has it, by block and repetition.

    Figures that are spoilt by stolen time are left out, but for blocks that have no others.
    """
    found = _least_spoilt(_figures(target, load, metric))
    return {place: figure.value for place, figure in found.items()}


@dataclass(frozen=True)
class _Figure:
    """A figure of a round, or the logarithm of a pair's ratio, and whether stolen time may have made it."""

    value: float
    spoilt: bool


def _figures(target: TargetRecord, load: str, metric: str) -> dict[Place, _Figure]:
    """Return the metric of every valid round that has it; of two attempts the last that is not spoilt."""
    found: dict[Place, _Figure] = {}
    for record in target.rounds:
        value, place = metric_value(record, metric), (record.block, record.repetition)
        if record.valid and record.load == load and value:
            figure = _Figure(value, spoils(metric, record.cpu_steal_share))
            if place not in found or found[place].spoilt or not figure.spoilt:
                found[place] = figure
    return found


def _least_spoilt(figures: Mapping[Place, _Figure]) -> dict[Place, _Figure]:
    """Leave out what is spoilt in each block that has anything else."""
    clean = {block for (block, _), figure in figures.items() if not figure.spoilt}
    return {place: figure for place, figure in figures.items() if not figure.spoilt or place[0] not in clean}


def logs_by_block(target: TargetRecord, load: str, metric: str) -> tuple[tuple[float, ...], ...]:
    """Return ln(figure) of the rounds of `by_place`, by block, each of which had a fresh server."""
    return _in_blocks({place: math.log(value) for place, value in by_place(target, load, metric).items()})


def _in_blocks(values: Mapping[Place, float]) -> tuple[tuple[float, ...], ...]:
    blocks: dict[int, list[float]] = {}
    for (block, _), value in sorted(values.items()):
        blocks.setdefault(block, []).append(value)
    return tuple(map(tuple, blocks.values()))


@dataclass(frozen=True)
class Question:
    """One metric of two sides under one load, measured and not judged yet.

    Attributes:
        floors: noise floor of the candidate and of the baseline; None for a side without one.
        margin: relative difference that does not matter.
        drifting: the sides that were still getting faster, or not shown to have stopped.
        looks: all so far, if blocks are added until it is decided.
    """

    candidate: str
    baseline: str
    load: str
    metric: str
    pairs: Pairs
    floors: tuple[float | None, float | None]
    margin: float
    seed: int
    drifting: tuple[str, ...] = ()
    looks: tuple[Look, ...] = ()

    @cached_property
    def estimate(self) -> RatioEstimate | None:
        """The ratio, ready for intervals; None with fewer than two pairs."""
        estimate = self.pairs.estimate(self.seed)
        return repeated(estimate, self.looks) if estimate and self.looks else estimate

    def verdict(self, confidence: float) -> Verdict:
        """Return the verdict by the interval of that confidence."""
        if self.drifting:
            return still_warming_up(self.drifting)
        sides = zip((self.candidate, self.baseline), self.floors, strict=True)
        return decide(
            self.estimate.interval(confidence) if self.estimate else None,
            lower_is_better=self.metric not in HIGHER_IS_BETTER,
            margin=self.margin,
            noise_floor=larger_floor(self.floors),
            without_floor=[name for name, floor in sides if floor is None],
        )


def judge(
    targets: Targets,
    *,
    margin: float,
    seed: int,
    primary: str = PRIMARY,
    verdicts: bool = True,
    looks: Sequence[Look] = (),
) -> tuple[tuple[ControlRecord, ...], tuple[ComparisonRecord, ...]]:
    """Return the noise floor of each side, load and metric, and a verdict for each pair of compared targets.

    Args:
        targets: with their rounds summarised.
        margin: relative difference that does not matter.
        seed: of the bootstrap.
        primary: the metric that is judged by itself; the others are corrected as one family.
        verdicts: False for a profile that measures too little for any.
        looks: all so far, of a run whose blocks are added until it is decided; intervals hold at all of them.
    """
    controls = tuple(
        _control(name, target, targets, load, metric, seed)
        for name, target in targets.items()
        if target.role == "control"
        for load in _loads([target])
        for metric in METRICS
    )
    controls += tuple(_assumed(targets, controls, looks))
    bare_questions = _questions(targets, controls, margin, seed, primary)
    questions = [replace(question, looks=tuple(looks)) for question in bare_questions]
    corrected = _judged(questions, primary) if verdicts else {}
    return controls, tuple(
        _comparison(question, corrected.get(place), is_primary=question.metric == primary)
        for place, question in enumerate(questions)
    )


def _assumed(
    targets: Targets, controls: Sequence[ControlRecord], looks: Sequence[Look]
) -> Iterator[ControlRecord]:
    """Yield a noise floor for sides whose control comes with the second block, where the first is looked at.

    Only beside one that was measured: where no side has a control, no difference is called.
    """
    if [look.blocks for look in looks] != [1]:
        return
    measured = dict.fromkeys((control.load, control.metric) for control in controls)
    controlled = {control.target for control in controls}
    for name, target in targets.items():
        if target.role == "compared" and name not in controlled:
            own_loads = _loads([target])
            yield from (_assumed_floor(name, *place) for place in measured if place[0] in own_loads)


def _assumed_floor(name: str, load: str, metric: str) -> ControlRecord:
    return ControlRecord(
        load=load,
        metric=metric,
        target=name,
        ratio=None,
        interval=None,
        pairs_count=0,
        noise_floor=ASSUMED_FLOOR,
        assumed=True,
    )


def _questions(
    targets: Targets, controls: Iterable[ControlRecord], margin: float, seed: int, primary: str
) -> Iterable[Question]:
    """Yield the questions on every pair of compared targets, under each load the primary metric first."""
    floors = {(c.target, c.load, c.metric): c.noise_floor for c in controls}
    compared = {name: target for name, target in targets.items() if target.role == "compared"}
    for candidate, baseline in combinations(compared, 2):
        ours, theirs = compared[candidate], compared[baseline]
        for load in _loads((ours, theirs)):
            for metric in sorted(METRICS, key=lambda metric: metric != primary):
                pairs = pair_rounds(ours, theirs, load, metric)
                both = (floors.get((candidate, load, metric)), floors.get((baseline, load, metric)))
                drifting = tuple(name for name in (candidate, baseline) if still_climbs(compared[name], load))
                yield Question(candidate, baseline, load, metric, pairs, both, margin, seed, drifting)


def still_climbs(target: TargetRecord, load: str) -> bool:
    """Return whether it was still warming up in a block whose rounds are used, with the budget used up.

    Its rounds still climbed (a fall is no warm-up), or its conditioning ended in a climb, or nothing showed
    it level: neither its conditioning nor two rounds that could differ. Without conditioning none has to be.
    """
    rounds_counts = Counter(record.block for record in target.rounds if record.valid and record.load == load)
    own = [drift for drift in target.drifts if drift.load == load and drift.block in rounds_counts]
    if any(not drift.resolved and drift.change > 0 for drift in own):
        return True
    # The state in which the rounds of a block met the server is that of its last conditioning.
    states = {conditioning.block: conditioning.state for conditioning in target.conditionings}
    return any(
        states.get(block) == "climbing" or (states.get(block) == "unsettled" and count < FEWEST_ROUNDS)
        for block, count in rounds_counts.items()
    )


def _judged(questions: Sequence[Question], primary: str) -> dict[int, Corrected]:
    """Judge by place: the primary metric's verdicts are one family, those of all others another."""
    corrected: dict[int, Corrected] = {}
    for is_primary in (True, False):
        family = [
            place
            for place, question in enumerate(questions)
            if (question.metric == primary) == is_primary and question.estimate
        ]
        verdicts = holm([questions[place].verdict for place in family])
        corrected |= dict(zip(family, verdicts, strict=True))
    return corrected


def _loads(targets: Iterable[TargetRecord]) -> list[str]:
    return list(dict.fromkeys(record.load for target in targets for record in target.rounds))


def _control(
    name: str, target: TargetRecord, targets: Targets, load: str, metric: str, seed: int
) -> ControlRecord:
    original = target.control_of or name
    pairs = pair_rounds(target, targets[original], load, metric)
    if len(pairs.by_block) == 1:
        alike = [one for key, one in targets.items() if original in (key, one.control_of)]
        (log_ratios,) = pairs.by_block
        estimate = estimate_alike(
            log_ratios, [rounds for one in alike for rounds in logs_by_block(one, load, metric)]
        )
    else:
        estimate = pairs.estimate(seed)
    interval = estimate.interval() if estimate else None
    return ControlRecord(
        load=load,
        metric=metric,
        target=original,
        ratio=interval.ratio if interval else None,
        interval=interval.ends if interval else None,
        pairs_count=pairs.count,
        noise_floor=noise_floor(interval),
    )


def _comparison(question: Question, corrected: Corrected | None, *, is_primary: bool) -> ComparisonRecord:
    pairs, estimate = question.pairs, question.estimate
    return ComparisonRecord(
        load=question.load,
        metric=question.metric,
        baseline=question.baseline,
        candidate=question.candidate,
        ratio=estimate.interval().ratio if estimate else None,
        interval=estimate.interval().ends if estimate else None,
        round_range=pairs.round_range,
        pairs_count=pairs.count,
        blocks_count=len(pairs.by_block),
        margin=question.margin,
        noise_floor=larger_floor(question.floors),
        pair_ratios=pairs.ratios,
        is_primary=is_primary,
        **(_said(corrected, estimate) if corrected and estimate else _nothing_said(pairs.count)),
    )


def _said(corrected: Corrected, estimate: RatioEstimate) -> dict[str, Any]:
    return {
        "verdict": corrected.verdict.word,
        "reason": recorded(corrected.verdict.reason),
        "rounds_needed": corrected.verdict.rounds_needed,
        "verdict_confidence": corrected.confidence,
        "verdict_interval": estimate.interval(corrected.confidence).ends,
    }


def _nothing_said(pairs_count: int) -> dict[str, Any]:
    """Return the fields for too few pairs, or for a profile that gives no verdicts."""
    few = pairs_count < FEWEST_PAIRS
    return {
        "verdict": None,
        "reason": reason("too_few_pairs") if few else reason("profile"),
        "rounds_needed": None,
    }

"""From two sides' figures to findings: pass, fail or undecided, decided on the ends of intervals."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Literal

from loadtests.intervals import RatioEstimate, RatioInterval, estimate_ratio, estimate_unpaired
from loadtests.multiplicity import Judge, holm
from loadtests.sequential import repeated
from loadtests.validity import ERRORS_SHARE_LIMIT
from loadtests.verdict import MOST_ROUNDS, Verdict, decide, larger_floor, still_warming_up
from pipelines.gate.baseline import Pair
from pipelines.gate.limits import Limit, Metric
from pipelines.judge.summarise import looks_of
from pipelines.judge.verdicts import by_place, pair_rounds, still_climbs
from pipelines.record.reason import ReasonRecord, reason, recorded
from pipelines.record.target import TargetRecord
from pipelines.report import pick

Word = Literal["pass", "fail", "undecided"]
RECORDED = {"throughput": "throughput_per_s"}
UNDECIDED: Word = "undecided"


@dataclass(frozen=True)
class Finding:
    """What the gate says of one metric of one side.

    Attributes:
        load: of a metric that is measured under loads; None for others.
        limit: the share it may get worse by.
        baseline, candidate: the two figures in `unit`, as the runs have them; None where they have none.
        factor: candidate / baseline, or their difference in a metric of points; None where it is unknown.
        interval: of the factor, with its confidence; None for what is exact or has no interval.
        reason: which rule gave the word, with its figures.
        rounds_needed: how many more pairs of rounds would probably decide.
        usual_interval: the 95 % interval, whatever the word goes by.
    """

    word: Word
    metric: str
    side: str
    load: str | None
    unit: str
    limit: float
    baseline: float | None
    candidate: float | None
    factor: float | None
    reason: ReasonRecord
    interval: tuple[float, float] | None = None
    confidence: float | None = None
    rounds_needed: int | None = None
    noise_floor: float | None = None
    usual_interval: tuple[float, float] | None = None


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
        """The verdict of a comparison whose margin is the limit, by the interval of that confidence."""
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


def findings(pairs: Sequence[Pair], limits: Sequence[Limit], seed: int) -> tuple[Finding, ...]:
    """Everything that was asked, and whether answers were right, which always is.

    What is measured is one family: `fail` is said by Holm's corrected intervals, so that the chance of any
    false one is at most 5 %. `pass` needs every finding to pass and goes by 95 % intervals: that all of
    several hold needs no correction (Berger 1982, "Multiparameter hypothesis testing", Technometrics 24(4)).
    """
    asked = [one for pair in pairs for limit in limits for one in _ask(pair, limit, seed)]
    measured = [one for one in asked if isinstance(one, Question)]
    judges: list[Judge] = [one.verdict for one in measured]
    said = {id(one): each for one, each in zip(measured, holm(judges), strict=True)}
    return (
        *(one for pair in pairs for one in _answers(pair)),
        *(
            one if isinstance(one, Finding) else _found(one, said[id(one)].verdict, said[id(one)].confidence)
            for one in asked
        ),
    )


def _found(one: Question, verdict: Verdict, confidence: float) -> Finding:
    word: Word = UNDECIDED
    interval, why, needed = one.estimate.interval(confidence), recorded(verdict.reason), verdict.rounds_needed
    if verdict.word == "worse":
        word = "fail"
    elif one.within_limit and not one.climbing:
        word, interval, why, needed = "pass", one.usual, reason("within_limit"), None
    elif one.passes_by_itself and not one.climbing:
        # Only narrower is needed: what keeps the limit needs no noise floor.
        interval, why, needed = one.usual, reason("across_margin"), one.rounds_needed
    return Finding(
        word=word,
        metric=one.limit.metric.key,
        side=one.pair.side,
        load=one.load,
        unit=one.limit.metric.unit,
        limit=one.limit.share,
        baseline=one.baseline,
        candidate=one.candidate,
        factor=interval.ratio,
        interval=(interval.low, interval.high),
        confidence=interval.confidence,
        reason=why,
        rounds_needed=needed,
        noise_floor=one.floor if one.limit.metric.kind == "rounds" else None,
        usual_interval=(one.usual.low, one.usual.high),
    )


def _ask(pair: Pair, limit: Limit, seed: int) -> Iterator[Question | Finding]:
    asking: Mapping[str, Callable[[], Iterator[Question | Finding]]] = {
        "rounds": partial(_of_rounds, pair, limit, seed),
        "blocks": partial(_of_blocks, pair, limit, seed),
        "exact": partial(_exact, pair, limit),
    }
    return asking[limit.metric.kind]()


def _of_rounds(pair: Pair, limit: Limit, seed: int) -> Iterator[Question | Finding]:
    metric = RECORDED.get(limit.metric.key, limit.metric.key)
    for load in dict.fromkeys(one.load for one in pair.ours.rounds):
        figures = [_summary(target, load, metric) for target in (pair.theirs, pair.ours)]
        estimate = _estimate(pair, load, metric, seed)
        if estimate is None:
            yield _unknown(pair, limit, load, reason("too_few_pairs"), *figures)
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


def _climbing(pair: Pair, load: str) -> tuple[str, ...]:
    sides = ((pair.candidate, pair.ours), (pair.baseline, pair.theirs))
    return tuple(dict.fromkeys(name for name, target in sides if still_climbs(target, load)))


def _estimate(pair: Pair, load: str, metric: str, seed: int) -> RatioEstimate | None:
    if pair.interleaved:
        found = pair_rounds(pair.ours, pair.theirs, load, metric).estimate(seed)
        looks = looks_of(pair.candidate_run)
        return repeated(found, looks) if found and looks else found
    ours, theirs = (_by_block(by_place(target, load, metric)) for target in (pair.ours, pair.theirs))
    return estimate_unpaired(ours, theirs, seed=seed)


def _by_block(found: Mapping[tuple[int, int], float]) -> list[list[float]]:
    blocks: dict[int, list[float]] = {}
    for (block, _), value in sorted(found.items()):
        blocks.setdefault(block, []).append(math.log(value))
    return list(blocks.values())


def _floors(pair: Pair, load: str, metric: str) -> dict[str, float | None]:
    """The noise floors of both sides, each from its own run."""
    sides = ((pair.candidate_run, pair.candidate), (pair.baseline_run, pair.baseline))
    said = ("candidate", "baseline") if not pair.interleaved else (pair.candidate, pair.baseline)
    return {
        label: next(
            (
                one.noise_floor
                for one in run.controls
                if (one.target, one.load, one.metric) == (name, load, metric)
            ),
            None,
        )
        for label, (run, name) in zip(said, sides, strict=True)
    }


def _summary(target: TargetRecord, load: str, metric: str) -> float | None:
    found = pick.summary_of(target, load)
    if found is None:
        return None
    value: float | None = (
        found.throughput_per_s if metric == "throughput_per_s" else getattr(found.latency_ms, metric)
    )
    return value


def _of_blocks(pair: Pair, limit: Limit, seed: int) -> Iterator[Question | Finding]:
    """One figure per fresh server."""
    theirs, ours = (_starts(target, limit.metric) for target in (pair.theirs, pair.ours))
    figures = [max(found.values(), default=None) for found in (theirs, ours)]
    if limit.metric.key == "memory" and pair.ours.memory.source != pair.theirs.memory.source:
        counted = [target.memory.source or "none" for target in (pair.theirs, pair.ours)]
        why = reason("counted_differently", baseline=counted[0], candidate=counted[1])
        yield _unknown(pair, limit, None, why, *figures)
        return
    if pair.interleaved:
        both = sorted(ours.keys() & theirs.keys())
        estimate = estimate_ratio([[math.log(ours[b] / theirs[b])] for b in both], seed=seed)
    else:
        logarithms = ([[math.log(value)] for value in found.values()] for found in (ours, theirs))
        estimate = estimate_unpaired(*logarithms, seed=seed)
    if estimate is None:
        yield _unknown(pair, limit, None, reason("too_few_blocks"), *figures)
    else:
        yield Question(pair, limit, None, estimate, 0.0, baseline=figures[0], candidate=figures[1])


def _starts(target: TargetRecord, metric: Metric) -> dict[int, float]:
    if metric.key == "memory":
        return {one.block: float(one.peak_bytes) for one in target.memory.block_peaks if one.peak_bytes}
    return {one.block: one.first_right_answer_s for one in target.cold_starts if one.first_right_answer_s}


def _exact(pair: Pair, limit: Limit) -> Iterator[Finding]:
    """What is a property of the build and not a measurement: the figure itself decides."""
    theirs, ours = (EXACT[limit.metric.key](target) for target in (pair.theirs, pair.ours))
    if theirs is None or ours is None:
        yield _unknown(pair, limit, None, reason("not_recorded_of_both"), theirs, ours)
        return
    if limit.metric.points:
        factor, worse = ours - theirs, theirs - ours
    else:
        factor = ours / theirs if theirs else math.inf
        worse = factor - 1
    # A difference of two rounded shares is not to fail by its last binary digit.
    kept = worse <= limit.share + 1e-12
    yield Finding(
        word="pass" if kept else "fail",
        metric=limit.metric.key,
        side=pair.side,
        load=None,
        unit=limit.metric.unit,
        limit=limit.share,
        baseline=theirs,
        candidate=ours,
        factor=factor,
        reason=reason("exact"),
    )


def _size(target: TargetRecord) -> float | None:
    return float(sum(one.size_bytes for one in target.artifacts)) if target.artifacts else None


def _image(target: TargetRecord) -> float | None:
    image = target.implementation.image
    return float(image.size_bytes) if image else None


def _accuracy(target: TargetRecord) -> float | None:
    return target.endpoint_parity.accuracy if target.endpoint_parity else None


EXACT: Mapping[str, Callable[[TargetRecord], float | None]] = {
    "size": _size,
    "image-size": _image,
    "accuracy": _accuracy,
}


def _unknown(
    pair: Pair,
    limit: Limit,
    load: str | None,
    why: ReasonRecord,
    baseline: float | None,
    candidate: float | None,
) -> Finding:
    return Finding(
        word=UNDECIDED,
        metric=limit.metric.key,
        side=pair.side,
        load=load,
        unit=limit.metric.unit,
        limit=limit.share,
        baseline=baseline,
        candidate=candidate,
        factor=None,
        reason=why,
    )


@dataclass(frozen=True)
class _Counted:
    """What a side answered, over all of its rounds."""

    wrong: int
    checked: int
    failed: int
    asked: int
    failed_share: float = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "failed_share", self.failed / self.asked if self.asked else 0.0)


def _count(target: TargetRecord) -> _Counted:
    """Invalid rounds too: a round in which a server answers wrong is invalid for its latencies alone."""
    rounds = target.rounds
    return _Counted(
        sum(one.wrong_count for one in rounds),
        sum(one.checked_count for one in rounds),
        sum(one.errors_count for one in rounds),
        sum(one.requests_count for one in rounds),
    )


def _answers(pair: Pair) -> Iterator[Finding]:
    """No answer may be wrong, and no more requests may fail than a valid round allows or the baseline had."""
    ours, theirs = _count(pair.ours), _count(pair.theirs)
    share = partial(_counted, pair)
    wrong = reason("answers", wrong_count=ours.wrong, checked_count=ours.checked)
    if ours.checked:
        yield share("answers", ours.wrong == 0, theirs.wrong, ours.wrong, wrong)
    failed = reason("failures", failed_count=ours.failed, asked_count=ours.asked)
    kept = ours.failed_share <= max(ERRORS_SHARE_LIMIT, theirs.failed_share)
    yield share("failures", kept, theirs.failed, ours.failed, failed)


def _counted(pair: Pair, metric: str, kept: bool, theirs: int, ours: int, why: ReasonRecord) -> Finding:
    return Finding(
        word="pass" if kept else "fail",
        metric=metric,
        side=pair.side,
        load=None,
        unit="number",
        limit=0.0 if metric == "answers" else ERRORS_SHARE_LIMIT,
        baseline=float(theirs),
        candidate=float(ours),
        factor=None,
        reason=why,
    )


def overall(found: Sequence[Finding]) -> Word:
    """`fail` where anything failed, else `undecided` where anything is, else `pass`."""
    words = {one.word for one in found}
    return "fail" if "fail" in words else "undecided" if "undecided" in words else "pass"

"""What the sides' speed costs: memory, cold starts, warming up, images, accuracy, pair by pair."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from statistics import median
from typing import Any, Final

from loadtests.intervals import RatioEstimate, RatioInterval, estimate_ratio
from loadtests.multiplicity import Corrected, holm
from loadtests.sequential import Look, repeated
from loadtests.verdict import Verdict
from pipelines.judge.accuracy import more_right, ratio_interval_of
from pipelines.judge.bounds import Bound, decide_bounded
from pipelines.record.conditioning import ConditioningRecord
from pipelines.record.parity import ParityRecord
from pipelines.record.target import TargetRecord
from pipelines.record.tradeoff import Measure, TradeOffRecord

CURVE_S: Final = 1.0
"""A fresh server's curve has one point per second: no time until steady is known better."""
Blocks = Mapping[int, float]


def judge_trade_offs(
    targets: Mapping[str, TargetRecord],
    *,
    margin: float,
    seed: int,
    verdicts: bool = True,
    looks: Sequence[Look] = (),
) -> tuple[TradeOffRecord, ...]:
    """Judge every measure of every pair of compared targets, by Holm's intervals as one family.

    Args:
        targets: by name, with everything but their rounds' figures.
        margin: relative difference that does not matter.
        seed: of the bootstrap.
        verdicts: False for a profile that measures too little for any.
        looks: all so far, of a run whose blocks are added until it is decided; intervals hold at all of them,
            and servers of blocks after the last look do not count.
    """
    compared = [
        (name, _looked_at(target, looks)) for name, target in targets.items() if target.role == "compared"
    ]
    trade_offs: list[tuple[TradeOffRecord, Judged | None]] = []
    for (candidate, ours), (baseline, theirs) in combinations(compared, 2):
        names = (candidate, baseline)
        trade_offs += [
            *(_of_blocks(measure, ours, theirs, seed, names, looks) for measure in BY_BLOCK),
            (_of_images(ours, theirs, margin, names), None),
            (_of_accuracy(ours, theirs, margin, names), None),
        ]
    corrected = _family([judged for _, judged in trade_offs if judged] if verdicts else [], margin)
    return tuple(_with_verdict(record, corrected.get(id(judged)), judged) for record, judged in trade_offs)


def _looked_at(target: TargetRecord, looks: Sequence[Look]) -> TargetRecord:
    """Return the target with the servers of blocks that were looked at; all of them in a fixed design."""
    if not looks:
        return target
    count = looks[-1].blocks
    memory = target.memory
    peaks = tuple(peak for peak in memory.block_peaks if peak.block < count)
    return target.model_copy(
        update={
            "memory": memory.model_copy(update={"block_peaks": peaks}),
            "cold_starts": tuple(start for start in target.cold_starts if start.block < count),
            "conditionings": tuple(one for one in target.conditionings if one.block < count),
        }
    )


@dataclass(frozen=True)
class Judged:
    """What a verdict goes by. The ratio of a bounded estimate lies beyond it, on the side of `bound`.

    `widened` is the factor to which the figures are known, by which an interval reaches further.
    """

    estimate: RatioEstimate
    bound: Bound | None = None
    widened: float = 1.0

    def interval(self, *confidence: float) -> RatioInterval:
        """Return the interval of the confidence, or that of 95 %."""
        return self.estimate.interval(*confidence).widened(self.widened)


def _judged(
    ratios: Sequence[Sequence[float]], seed: int, looks: Sequence[Look], **fields: Any
) -> Judged | None:
    """Return what a verdict on logarithms of ratios goes by, a block each; None with fewer than two."""
    estimate = estimate_ratio(ratios, seed=seed)
    if estimate is None:
        return None
    return Judged(repeated(estimate, looks) if looks else estimate, **fields)


def _peaks(target: TargetRecord) -> Blocks:
    return {peak.block: float(peak.peak_bytes) for peak in target.memory.block_peaks}


def _cold_starts(target: TargetRecord) -> Blocks:
    return {start.block: start.first_right_answer_s for start in target.cold_starts}


def _fresh(target: TargetRecord) -> Mapping[int, ConditioningRecord]:
    """Return the first load on each fresh server, by block."""
    first: dict[int, ConditioningRecord] = {}
    for conditioning in target.conditionings:
        first.setdefault(conditioning.block, conditioning)
    return first


def _until_steady(target: TargetRecord) -> Blocks:
    """Return the seconds of the first load on each fresh server, infinite for one not steady in its budget.

    Left out, such a server would favour its side: it is the slowest to get steady. One that was steady from a
    start that was not seen has none.
    """
    seconds = {block: _seconds(conditioning) for block, conditioning in _fresh(target).items()}
    return {block: value for block, value in seconds.items() if value is not None}


def _seconds(conditioning: ConditioningRecord) -> float | None:
    return conditioning.until_steady_s if conditioning.state == "steady" else math.inf


BY_BLOCK: Final[Mapping[Measure, tuple[Callable[[TargetRecord], Blocks], float]]] = {
    "peak_memory_bytes": (_peaks, 0.0),
    "cold_start_s": (_cold_starts, 0.0),
    "until_steady_s": (_until_steady, CURVE_S),
}
"""By measure: each block's figure, and the step to which it is known: the least told from nothing."""


def _of_blocks(
    measure: Measure,
    ours: TargetRecord,
    theirs: TargetRecord,
    seed: int,
    names: tuple[str, str],
    looks: Sequence[Look],
) -> tuple[TradeOffRecord, Judged | None]:
    figures, least = BY_BLOCK[measure]
    ours_by, theirs_by = figures(ours), figures(theirs)
    values = _value(measure, ours, ours_by), _value(measure, theirs, theirs_by)
    blocks = sorted(ours_by.keys() & theirs_by.keys())
    if measure == "peak_memory_bytes" and ours.memory.source != theirs.memory.source:
        blocks = []  # Counted in two ways: neither is more.
    endless = [math.isinf(by[block]) for block in blocks for by in (ours_by, theirs_by)]
    if any(endless):
        judged = _bounded(ours, theirs, blocks, seed, looks)
        return _record(measure, names, values, blocks_count=len(blocks)), judged
    all_figures = [(max(ours_by[block], least), max(theirs_by[block], least)) for block in blocks]
    known = [pair for pair in all_figures if min(pair) > 0]
    ratios = [[math.log(a / b)] for a, b in known]
    judged = _judged(ratios, seed, looks, widened=_widened(known, least))
    usual = judged.interval() if judged else None
    alone = math.exp(ratios[0][0]) if len(ratios) == 1 else None
    record = _record(
        measure,
        names,
        values,
        ratio=usual.ratio if usual else alone,
        interval=usual.ends if usual else None,
        blocks_count=len(ratios),
    )
    return record, judged


def _widened(pairs: Sequence[tuple[float, float]], step: float) -> float:
    """Return the factor to which ratios are known of figures that are known to a `step`."""
    return 1 + step / min(map(min, pairs)) if pairs and step else 1.0


def _bounded(
    ours: TargetRecord, theirs: TargetRecord, blocks: Sequence[int], seed: int, looks: Sequence[Look]
) -> Judged | None:
    """Bound the ratio of times until steady by the budget of servers that still climbed when it ended.

    Says nothing where servers of both sides did, in whatever blocks, or where one was not shown to climb.
    """
    sides = [[_fresh(side)[block] for block in blocks] for side in (ours, theirs)]
    states = [{conditioning.state for conditioning in side} for side in sides]
    if "unsettled" in states[0] | states[1] or ("climbing" in states[0] and "climbing" in states[1]):
        return None
    pairs = list(zip(*(map(_at_least_s, side) for side in sides), strict=True))
    ratios = [[math.log(a / b)] for a, b in pairs]
    bound: Bound = "at_least" if "climbing" in states[0] else "at_most"
    return _judged(ratios, seed, looks, bound=bound, widened=_widened(pairs, CURVE_S))


def _at_least_s(conditioning: ConditioningRecord) -> float:
    """Return the seconds until steady, or the whole budget where that ended before; a point of the curve."""
    seconds = conditioning.until_steady_s
    return max(CURVE_S, conditioning.duration_s if seconds is None else seconds)


def _value(measure: Measure, target: TargetRecord, by_block: Blocks) -> float | None:
    """Return the median over fresh servers; for a record without their peaks, the largest of all.

    None where half of them or more were not steady in their budget.
    """
    if by_block:
        middle = float(median(by_block.values()))
        return None if math.isinf(middle) else middle
    peak = target.memory.peak_bytes if measure == "peak_memory_bytes" else None
    return None if peak is None else float(peak)


def _of_images(
    ours: TargetRecord, theirs: TargetRecord, margin: float, names: tuple[str, str]
) -> TradeOffRecord:
    """Compare image sizes, which are known exactly: a difference beyond the margin is one."""
    images = [target.implementation.image for target in (ours, theirs)]
    sizes = tuple(float(image.size_bytes) if image else None for image in images)
    candidate, baseline = sizes
    if not candidate or not baseline:
        return _record("image_bytes", names, (candidate, baseline))
    ratio = candidate / baseline
    far = abs(math.log(ratio)) > math.log1p(margin)
    verdict = ("better" if ratio < 1 else "worse") if far else "equivalent"
    return _record("image_bytes", names, (candidate, baseline), ratio=ratio, verdict=verdict)


def _of_accuracy(
    ours: TargetRecord, theirs: TargetRecord, margin: float, names: tuple[str, str]
) -> TradeOffRecord:
    """Compare shares of right answers: exact on the samples, with the interval for more of their kind."""
    parities = [target.endpoint_parity for target in (ours, theirs)]
    candidate, baseline = (parity.accuracy if parity else None for parity in parities)
    values = candidate, baseline
    if candidate is None or baseline is None:
        return _record("accuracy", names, values)
    ratio = candidate / baseline if baseline else None
    known = [parity for parity in parities if parity]
    if any(map(_is_of_positions, known)):
        return _record("accuracy", names, values, ratio=ratio)
    disagreeing = round(sum((1 - (parity.top1_agreement or 0)) * parity.samples_count for parity in known))
    samples = min(parity.samples_count for parity in known)
    more = round((candidate - baseline) * samples)
    interval = ratio_interval_of(baseline, more, disagreeing, samples) if baseline else None
    even = more == 0 and interval is not None and _within(interval, margin)
    verdict = "equivalent" if even else more_right(more, disagreeing, samples)
    return _record("accuracy", names, values, ratio=ratio, interval=interval, verdict=verdict)


def _within(interval: tuple[float, float], margin: float) -> bool:
    return interval[0] >= 1 / (1 + margin) and interval[1] <= 1 + margin


def _is_of_positions(parity: ParityRecord) -> bool:
    """Return whether the share is of labelled positions: several of one sample, and not counted anywhere."""
    whose = next((one for one in parity.outputs if one.accuracy is not None), parity)
    return whose.task == "tokens"


def _record(
    measure: Measure, names: tuple[str, str], values: tuple[float | None, float | None], **fields: Any
) -> TradeOffRecord:
    nothing: dict[str, Any] = {"ratio": None, "interval": None, "blocks_count": 0, "verdict": None}
    nothing |= {"verdict_confidence": None, "verdict_interval": None}
    return TradeOffRecord(
        measure=measure,
        candidate=names[0],
        baseline=names[1],
        candidate_value=values[0],
        baseline_value=values[1],
        **(nothing | fields),
    )


def _family(judged: list[Judged], margin: float) -> dict[int, Corrected]:
    """Judge each; a correction keeps the chance of any false verdict at five per cent.

    There is no noise floor: one figure per fresh server has in its interval all that differs between starts.
    """

    def verdict(one: Judged, confidence: float) -> Verdict:
        return decide_bounded(
            one.estimate,
            confidence,
            lower_is_better=True,
            margin=margin,
            bound=one.bound,
            widened=one.widened,
        )

    corrected = holm([partial(verdict, one) for one in judged])
    return {id(one): each for one, each in zip(judged, corrected, strict=True)}


def _with_verdict(
    record: TradeOffRecord, corrected: Corrected | None, judged: Judged | None
) -> TradeOffRecord:
    if corrected is None or judged is None:
        return record
    interval = judged.interval(corrected.confidence)
    # A bound has one end: the record holds no interval that is open.
    verdict_interval = interval.ends if judged.bound is None else None
    return record.model_copy(
        update={
            "verdict": corrected.verdict.word,
            "verdict_confidence": corrected.confidence,
            "verdict_interval": verdict_interval,
        }
    )

"""What the sides' speed costs: memory, cold starts, warming up, images, accuracy, pair by pair."""

import math
from collections.abc import Callable, Mapping
from functools import partial
from itertools import combinations
from statistics import median
from typing import Any, Final

from loadtests.intervals import RatioEstimate, estimate_ratio
from loadtests.multiplicity import Corrected, holm
from loadtests.verdict import Verdict, decide
from pipelines.record.target import TargetRecord
from pipelines.record.tradeoff import Measure, TradeOffRecord

CURVE_S: Final = 1.0
"""A fresh server's curve has one point per second: no time until steady is known better."""
CHANCE: Final = 0.05
Blocks = Mapping[int, float]


def judge_trade_offs(
    targets: Mapping[str, TargetRecord], *, margin: float, seed: int, verdicts: bool = True
) -> tuple[TradeOffRecord, ...]:
    """Judge every measure of every pair of compared targets, by Holm's intervals as one family.

    Args:
        targets: by name, with everything but their rounds' figures.
        margin: relative difference that does not matter.
        seed: of the bootstrap.
        verdicts: False for a profile that measures too little for any.
    """
    compared = [(name, target) for name, target in targets.items() if target.role == "compared"]
    trade_offs: list[tuple[TradeOffRecord, RatioEstimate | None]] = []
    for (candidate, ours), (baseline, theirs) in combinations(compared, 2):
        names = (candidate, baseline)
        trade_offs += [
            *(_of_blocks(measure, ours, theirs, seed, names) for measure in BY_BLOCK),
            (_of_images(ours, theirs, margin, names), None),
            (_of_accuracy(ours, theirs, names), None),
        ]
    corrected = _family([estimate for _, estimate in trade_offs if estimate] if verdicts else [], margin)
    return tuple(
        _with_verdict(record, corrected.get(id(estimate)), estimate) for record, estimate in trade_offs
    )


def _peaks(target: TargetRecord) -> Blocks:
    return {peak.block: float(peak.peak_bytes) for peak in target.memory.block_peaks}


def _cold_starts(target: TargetRecord) -> Blocks:
    return {start.block: start.first_right_answer_s for start in target.cold_starts}


def _until_steady(target: TargetRecord) -> Blocks:
    """Return the seconds of the first load on each fresh server; none for one not steady in time."""
    first: dict[int, float | None] = {}
    for conditioning in target.conditionings:
        first.setdefault(conditioning.block, conditioning.until_steady_s)
    return {block: value for block, value in first.items() if value is not None}


BY_BLOCK: Final[Mapping[Measure, tuple[Callable[[TargetRecord], Blocks], float]]] = {
    "peak_memory_bytes": (_peaks, 0.0),
    "cold_start_s": (_cold_starts, 0.0),
    "until_steady_s": (_until_steady, CURVE_S),
}
"""By measure: each block's figure, and the least that can be told from nothing."""


def _of_blocks(
    measure: Measure, ours: TargetRecord, theirs: TargetRecord, seed: int, names: tuple[str, str]
) -> tuple[TradeOffRecord, RatioEstimate | None]:
    figures, least = BY_BLOCK[measure]
    ours_by, theirs_by = figures(ours), figures(theirs)
    pairs = [
        [math.log(max(ours_by[block], least) / max(theirs_by[block], least))]
        for block in sorted(ours_by.keys() & theirs_by.keys())
        if max(ours_by[block], least) > 0 and max(theirs_by[block], least) > 0
    ]
    if measure == "peak_memory_bytes" and ours.memory.source != theirs.memory.source:
        pairs = []  # Counted in two ways: neither is more.
    estimate = estimate_ratio(pairs, seed=seed)
    usual = estimate.interval() if estimate else None
    alone = math.exp(pairs[0][0]) if len(pairs) == 1 else None
    record = _record(
        measure,
        names,
        (_value(measure, ours, ours_by), _value(measure, theirs, theirs_by)),
        ratio=usual.ratio if usual else alone,
        interval=(usual.low, usual.high) if usual else None,
        blocks_count=len(pairs),
    )
    return record, estimate


def _value(measure: Measure, target: TargetRecord, by_block: Blocks) -> float | None:
    """Return the median over fresh servers; for a record without their peaks, the largest of all."""
    if by_block:
        return float(median(by_block.values()))
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


def _of_accuracy(ours: TargetRecord, theirs: TargetRecord, names: tuple[str, str]) -> TradeOffRecord:
    parities = [target.endpoint_parity for target in (ours, theirs)]
    candidate, baseline = (parity.accuracy if parity else None for parity in parities)
    if candidate is None or baseline is None:
        return _record("accuracy", names, (candidate, baseline))
    disagreeing = sum(
        (1 - (parity.top1_agreement or 0)) * parity.samples_count for parity in parities if parity
    )
    samples = min(parity.samples_count for parity in parities if parity)
    verdict = _more_right(round((candidate - baseline) * samples), round(disagreeing))
    return _record("accuracy", names, (candidate, baseline), verdict=verdict)


def _more_right(more: int, differing_at_most: int) -> str:
    """Judge by a sign test whether one side is right more often than chance makes it.

    Two sides differ in no more samples than each differs in from the source model, together; that many make
    the test the least likely to reject.
    """
    from scipy.special import bdtrc  # scipy.stats takes a second to import

    if more == 0:
        return "equivalent"
    differing = max(abs(more), differing_at_most)
    most = (differing + abs(more)) // 2
    rejected = 2 * bdtrc(most - 1, differing, 0.5) < CHANCE
    return ("better" if more > 0 else "worse") if rejected else "inconclusive"


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


def _family(estimates: list[RatioEstimate], margin: float) -> dict[int, Corrected]:
    """Judge each; a correction keeps the chance of any false verdict at five per cent.

    There is no noise floor: one figure per fresh server has in its interval all that differs between starts.
    """

    def judged(estimate: RatioEstimate, confidence: float) -> Verdict:
        interval = estimate.interval(confidence)
        return decide(interval, lower_is_better=True, margin=margin, noise_floor=0.0, without_floor=())

    corrected = holm([partial(judged, estimate) for estimate in estimates])
    return {id(estimate): each for estimate, each in zip(estimates, corrected, strict=True)}


def _with_verdict(
    record: TradeOffRecord, corrected: Corrected | None, estimate: RatioEstimate | None
) -> TradeOffRecord:
    if corrected is None or estimate is None:
        return record
    judged = estimate.interval(corrected.confidence)
    return record.model_copy(
        update={
            "verdict": corrected.verdict.word,
            "verdict_confidence": corrected.confidence,
            "verdict_interval": (judged.low, judged.high),
        }
    )

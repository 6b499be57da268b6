"""From the searches of an SLO run to highest rates, their ratio, and what they cost.

A search that only bounds a rate is censored: its bound takes part in bounds, and never in an estimate.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Final, Literal

from loadtests.intervals import CONFIDENCE, RatioInterval, ratio_interval
from loadtests.slo import Outcome, cost_interval, cost_per_million
from pipelines.record.reason import ReasonRecord, reason
from pipelines.record.slo import SloBlockRecord, SloRatioRecord, SloRecord, SloTargetRecord

Targets = Mapping[str, SloTargetRecord]

TWO_SIDED_FOR_ONE: Final = 2 * CONFIDENCE - 1
"""Confidence of the interval whose one end is a one-sided limit at CONFIDENCE."""

WITHOUT_RATE: Final = frozenset({"none", "not_measured"})


def judge_slo(slo: SloRecord, seed: int, rows: int = 1, *, verdicts: bool = True) -> SloRecord:
    """Compute highest rates, their ratio and its interval, and costs, from what each block's search found.

    Args:
        rows: of a request, each of them an inference.
        verdicts: False for a profile that measures too little to say that one side sustains more.
    """
    price = None if slo.hourly_price is None else slo.hourly_price / rows
    targets = {name: _judge_target(target, slo, seed, price) for name, target in slo.targets.items()}
    return slo.model_copy(update={"targets": targets} | _ratio(slo, targets, seed, verdicts=verdicts))


def _judge_target(target: SloTargetRecord, slo: SloRecord, seed: int, price: float | None) -> SloTargetRecord:
    """Judge a target; its rate's interval is that of its ratio to 1 per second, a logarithm per block."""
    blocks = blocks_of(target)
    mean = _mean([block.rate_per_s for block in blocks])
    bounded = any(block.outcome == "lower_bound" for block in blocks)
    rate, at_least = (None, mean) if bounded else (mean, None)
    interval = _searched(blocks, slo.resolution, seed) if rate else None
    return target.model_copy(
        update={
            "rate_per_s": rate,
            "at_least_per_s": at_least,
            "interval": interval.ends if interval else None,
            "blocks": blocks,
            "block_rates_per_s": tuple(
                block.rate_per_s if block.outcome == "found" else None for block in blocks
            ),
            "lower_bound": bounded,
            "cost_per_million": cost_per_million(rate, price) if rate and price else None,
            "cost_at_most": cost_per_million(at_least, price) if at_least and price else None,
            "cost_interval": cost_interval(interval.low, interval.high, price)
            if interval and price
            else None,
            "reason": _why_no_rate(blocks),
        }
    )


def blocks_of(target: SloTargetRecord) -> tuple[SloBlockRecord, ...]:
    """Return what each block found; an older record holds rates only, and one bound makes all bounds."""
    if target.blocks:
        return target.blocks
    outcome: Outcome = "lower_bound" if target.lower_bound else "found"
    return tuple(
        SloBlockRecord(
            block=place,
            outcome=outcome if rate else "none",
            rate_per_s=rate,
            breaks_at_per_s=None,
            rounds_count=sum(point.block == place for point in target.points),
            reason=target.reason,
        )
        for place, rate in enumerate(target.block_rates_per_s)
    )


def _mean(rates: Sequence[float | None]) -> float | None:
    """Return the geometric mean; None if a block has no rate: the others' mean would be too good."""
    known_rates = [rate for rate in rates if rate]
    if not known_rates or len(known_rates) < len(rates):
        return None
    return math.exp(math.fsum(map(math.log, known_rates)) / len(known_rates))


def _why_no_rate(blocks: Sequence[SloBlockRecord]) -> ReasonRecord | None:
    """Return the reason of the first block without a rate, with the number of the block."""
    without = [block for block in blocks if block.outcome in WITHOUT_RATE]
    bounds = [block for block in blocks if block.outcome == "lower_bound"]
    return next((_of_block(block) for block in (*without, *bounds)), None)


def _of_block(block: SloBlockRecord) -> ReasonRecord | None:
    if block.reason is None:
        return None
    return block.reason.model_copy(update={"figures": {**block.reason.figures, "block": block.block}})


def _searched(blocks: Sequence[SloBlockRecord], resolution: float, seed: int) -> RatioInterval | None:
    return _interval([math.log(block.rate_per_s) for block in blocks if block.rate_per_s], resolution, seed)


def _interval(
    logarithms: Sequence[float], resolution: float, seed: int, confidence: float = CONFIDENCE
) -> RatioInterval | None:
    """Return the interval over blocks, one search each; none is finer than the search's resolution."""
    interval = ratio_interval([[value] for value in logarithms], seed=seed, confidence=confidence)
    return interval.widened(1 + resolution) if interval else None


def _ratio(slo: SloRecord, targets: Targets, seed: int, *, verdicts: bool) -> dict[str, object]:
    """Return the fields of the record that are about both sides."""
    pairs = _block_ratios(slo, targets)
    nothing: dict[str, object] = dict.fromkeys(
        ("ratio", "interval", "ratio_at_least", "ratio_at_most", "reason")
    )
    fields = nothing | {"block_ratios": pairs}
    if slo.baseline is None:
        return fields
    why = _why_no_ratio(slo.candidate, slo.baseline, targets)
    if why or not pairs:
        return fields | {"reason": why or reason("no_block_of_both")}
    if not verdicts:
        return fields | {"reason": reason("profile")}
    return fields | _said_of(pairs, slo.resolution, seed)


def _said_of(pairs: Sequence[SloRatioRecord], resolution: float, seed: int) -> dict[str, object]:
    """Return the ratio with its interval, or the limit on the side on which it is bounded."""
    logarithms = [math.log(pair.ratio) for pair in pairs]
    bound = next((pair.bound for pair in pairs if pair.bound), None)
    if bound is None:
        alone = reason("one_block") if len(pairs) == 1 else None
        usual = _interval(logarithms, resolution, seed)
        return {
            "ratio": _mean([pair.ratio for pair in pairs]),
            "interval": usual.ends if usual else None,
            "reason": alone,
        }
    interval = _interval(logarithms, resolution, seed, TWO_SIDED_FOR_ONE)
    if bound == "at_least":
        return {"ratio_at_least": interval.low if interval else pairs[0].ratio / (1 + resolution)}
    return {"ratio_at_most": interval.high if interval else pairs[0].ratio * (1 + resolution)}


def _block_ratios(slo: SloRecord, targets: Targets) -> tuple[SloRatioRecord, ...]:
    """Return the ratio of each block with a rate or a bound of both; two bounds say nothing."""
    if slo.baseline is None:
        return ()
    ours, theirs = (
        {block.block: block for block in targets[x].blocks} for x in (slo.candidate, slo.baseline)
    )
    ratios = (_block_ratio(ours[block], theirs[block]) for block in ours if block in theirs)
    return tuple(ratio for ratio in ratios if ratio)


def _block_ratio(ours: SloBlockRecord, theirs: SloBlockRecord) -> SloRatioRecord | None:
    bounded = (ours.outcome == "lower_bound", theirs.outcome == "lower_bound")
    if not ours.rate_per_s or not theirs.rate_per_s or all(bounded):
        return None
    bound: Literal["at_least", "at_most"] | None = (
        "at_least" if bounded[0] else "at_most" if bounded[1] else None
    )
    return SloRatioRecord(block=ours.block, ratio=ours.rate_per_s / theirs.rate_per_s, bound=bound)


def _why_no_ratio(candidate: str, baseline: str, targets: Targets) -> ReasonRecord | None:
    sides = (candidate, baseline)
    for name in sides:
        outcomes = {block.outcome for block in targets[name].blocks}
        if "none" in outcomes:
            return reason("side_without_rate", side=name)
        if "not_measured" in outcomes:
            return reason("side_gave_up", side=name)
        if not targets[name].blocks:
            return reason("side_without_search", side=name)
    if all(targets[name].lower_bound for name in sides):
        return reason("both_bounded")
    return None

"""Verdicts on ratios of which only one end is known: a side gave a bound, and not a figure."""

from typing import Literal

from loadtests.intervals import RatioEstimate, RatioInterval
from loadtests.reason import Reason
from loadtests.verdict import Verdict, decide

Bound = Literal["at_least", "at_most"]


def decide_bounded(
    estimate: RatioEstimate,
    confidence: float,
    *,
    lower_is_better: bool,
    margin: float,
    bound: Bound | None,
    widened: float = 1.0,
) -> Verdict:
    """Return the verdict on the candidate; of a bounded ratio only that in the direction of its bound.

    Nothing is said of a noise floor: each figure has a block of its own, with all that differs between them.

    Args:
        confidence: of the interval; of a bounded ratio of the one-sided limit.
        bound: `at_least` where the true ratio may lie above the estimate, `at_most` where below.
        widened: factor by which the interval reaches further on either side, 1 or more.

    Raises:
        ValueError: as `decide`.
    """
    interval = _interval(estimate, confidence, bound, widened)
    verdict = decide(interval, lower_is_better=lower_is_better, margin=margin, noise_floor=0.0)
    more = "worse" if lower_is_better else "better"
    less = "better" if lower_is_better else "worse"
    if bound is None or verdict.word == (more if bound == "at_least" else less):
        return verdict
    return Verdict("inconclusive", Reason("near_limit", {}))


def ends_of(
    estimate: RatioEstimate, confidence: float, bound: Bound | None, widened: float = 1.0
) -> tuple[float | None, float | None]:
    """Return the ends of the interval that `decide_bounded` goes by; of a bounded ratio the limit alone."""
    low, high = _interval(estimate, confidence, bound, widened).ends
    return (None if bound == "at_most" else low), (None if bound == "at_least" else high)


def _interval(
    estimate: RatioEstimate, confidence: float, bound: Bound | None, widened: float
) -> RatioInterval:
    level = confidence if bound is None else 2 * confidence - 1
    return estimate.interval(level).widened(widened)

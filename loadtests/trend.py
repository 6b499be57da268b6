"""Does a series still rise or fall? A robust slope with an interval, and whether that one is small enough.

docs/statistics.md says why this test was chosen and shows its simulated rates of false alarms and misses.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

CONFIDENCE: Final = 0.90
"""Two-sided: each end of the interval is passed by chance in one of twenty steady series."""

FEWEST_POINTS: Final = 4


@dataclass(frozen=True)
class Trend:
    """How much a series changes over a span of its own clock, as a relative change with its interval.

    Attributes:
        change: of the fitted line over the span; 0.1 is 10 % up, -0.1 is 1/1.1 of the start.
        low, high: the 90 % interval of `change`.
    """

    change: float
    low: float
    high: float

    def is_within(self, limit: float) -> bool:
        """Return whether the whole interval is within 1/(1 + limit) and 1 + limit: shown not to change."""
        return self.high <= limit and self.low >= 1 / (1 + limit) - 1


def trend(values: Sequence[float], span: float) -> Trend | None:
    """Return the change of evenly spaced positive `values` over `span` steps; None with too few of them.

    The slope of the logarithms is Theil's and Sen's: the median over all pairs of points, which a single dip
    does not move (Sen 1968, "Estimates of the regression coefficient based on Kendall's tau", JASA 63(324)).

    Raises:
        ValueError: a value that is not above zero.
    """
    if len(values) < FEWEST_POINTS:
        return None
    if min(values) <= 0:
        raise ValueError(f"a trend is relative, so all values are above zero; got {min(values)}")
    from scipy.stats import theilslopes

    fit = theilslopes([math.log(value) for value in values], alpha=CONFIDENCE)
    change, low, high = (math.expm1(slope * span) for slope in (fit.slope, fit.low_slope, fit.high_slope))
    return Trend(change, low, high)

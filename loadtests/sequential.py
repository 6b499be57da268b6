"""Looking at a comparison again and again without a false call for every look: group-sequential intervals.

After every block the intervals are looked at, and measuring ends when they decide. With 95 % at each of ten
looks, one false call in five runs would be made. Here the error of 5 % is spent over the looks, as a function
of the time used (Lan and DeMets 1983, "Discrete sequential boundaries for clinical trials", Biometrika 70(3);
by calendar time: 1989, Statistics in Medicine 8(10)), and each look has an interval wide enough that all of
them together hold the truth in 95 % of runs (repeated confidence intervals; Jennison and Turnbull 1989,
Journal of the Royal Statistical Society B 51(3)). docs/statistics.md says why, and shows simulations.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

import numpy as np

from loadtests.intervals import CONFIDENCE, FEWEST_DEGREES, Floats, RatioEstimate, RatioInterval

BLOCK_DEVIATION: Final = 0.10
"""What blocks are taken to differ by while there is one, a standard deviation of ln(ratio): a single block
cannot tell. Twice what repeated comparisons of one server with itself showed."""

ASSUMED_FLOOR: Final = math.expm1(1.96 * BLOCK_DEVIATION)
"""The noise floor of a side whose control comes with the second block, 22 %: so far from no difference does
the ratio of such blocks reach in 95 % of cases."""

GRID: Final = 801
SURE_Z: Final = 9.0


@dataclass(frozen=True)
class Look:
    """One look at the data.

    Attributes:
        blocks: measured by then; all looks' are rising.
        time_share: of the whole time used by then, 0 to 1; 1 at the last look, whenever that is.
    """

    blocks: int
    time_share: float


def spent(time_share: float, error: float) -> float:
    """Return how much of the error may be spent by then: Pocock's spending function of Lan and DeMets.

    O'Brien and Fleming's would spend next to nothing early: with the few degrees of freedom of two blocks it
    could call no difference at all, however clear.
    """
    return error * math.log1p((math.e - 1) * min(max(time_share, 0.0), 1.0))


def look_confidence(looks: Sequence[Look], confidence: float) -> float:
    """Return the confidence of the last look's interval, so that all looks together have `confidence`.

    Raises:
        ValueError: no looks, or looks whose blocks or times do not rise.
    """
    if not looks:
        raise ValueError("there was no look")
    pairs = list(itertools.pairwise(looks))
    if looks[0].blocks < 1 or any(a.blocks >= b.blocks or a.time_share > b.time_share for a, b in pairs):
        raise ValueError(f"the blocks and times of looks rise, got {list(looks)}")
    return _confidence(tuple((look.blocks, look.time_share) for look in looks), round(1 - confidence, 12))


@lru_cache(maxsize=4096)
def _confidence(looks: tuple[tuple[int, float], ...], error: float) -> float:
    """Compute the confidence by Armitage, McPherson and Rowe's recursion (1969) for a Brownian motion.

    The density of paths that have not crossed before is carried from look to look on a grid.
    """
    from scipy.special import ndtr

    limit = _first_limit(spent(looks[0][1], error), looks[0][0])
    places = np.linspace(-limit, limit, GRID)
    density = np.exp(-(places**2) / (2 * looks[0][0])) / math.sqrt(2 * math.pi * looks[0][0])
    for (before, then), (blocks, time) in itertools.pairwise(looks):
        step = math.sqrt(blocks - before)
        increment = max(spent(time, error) - spent(then, error), 0.0)
        weights = density * _simpson(places)

        def beyond(edge: float, weights: Floats = weights) -> float:
            """Return the probability of lying outside ±edge now, and never before."""
            out = ndtr((places - edge) / step) + ndtr((-places - edge) / step)  # noqa: B023 - used at once
            return float(np.sum(weights * out))

        limit = _root(beyond, increment, SURE_Z * math.sqrt(blocks))
        new = np.linspace(-limit, limit, GRID)
        kernel = np.exp(-((new[:, None] - places[None, :]) ** 2) / (2 * step**2))
        density = kernel @ weights / (step * math.sqrt(2 * math.pi))
        places = new
    return 1 - 2 * float(ndtr(-limit / math.sqrt(looks[-1][0])))


def _first_limit(error: float, blocks: int) -> float:
    from scipy.special import ndtri

    z = float(-ndtri(error / 2)) if error > 0 else SURE_Z
    return min(z, SURE_Z) * math.sqrt(blocks)


def _root(beyond: Callable[[float], float], wanted: float, most: float) -> float:
    """Find where a falling function has a value, by bisection."""
    low, high = 0.0, most
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if beyond(middle) > wanted else (low, middle)
    return high


def _simpson(places: Floats) -> Floats:
    """Return the weights of Simpson's rule on an odd number of evenly spaced places."""
    weights = np.full(len(places), 2.0)
    weights[1::2] = 4.0
    weights[0] = weights[-1] = 1.0
    return np.asarray(weights * ((places[1] - places[0]) / 3))


@dataclass(frozen=True)
class RepeatedEstimate(RatioEstimate):
    """A ratio looked at several times: its interval of 95 % holds the truth at all looks in 95 % of runs."""

    looks: tuple[Look, ...] = ()

    def interval(self, confidence: float = CONFIDENCE) -> RatioInterval:
        """Return the interval of this look, as wide as all looks together need for that coverage."""
        return replace(super().interval(look_confidence(self.looks, confidence)), confidence=confidence)


def repeated(estimate: RatioEstimate, looks: Sequence[Look]) -> RepeatedEstimate:
    """Return the estimate as that of the last of several looks.

    With one block its standard error also holds BLOCK_DEVIATION: the rounds of one block say nothing of what
    the next block would have given. With two it has no floor of its degrees of freedom: a look that calls too
    often is one of several here, and the next block is on its way.
    """
    error, degrees, deviations = estimate.standard_error, estimate.degrees, estimate.deviations
    if estimate.blocks_count == 1:
        total = error**2 + BLOCK_DEVIATION**2
        degrees = max(degrees, degrees * (total / error**2) ** 2) if error else 1e6
        error = math.sqrt(total)
        # Most of it is no property of these rounds, so their skew is none of it.
        deviations = np.array([-error, error])
    elif estimate.blocks_count == 2 and degrees <= FEWEST_DEGREES:  # noqa: PLR2004 - said above
        degrees = 1.0
    return RepeatedEstimate(
        centre=estimate.centre,
        deviations=deviations,
        standard_error=error,
        degrees=min(degrees, 1e6),
        blocks_count=estimate.blocks_count,
        pairs_count=estimate.pairs_count,
        looks=tuple(looks),
    )

"""Change points of a series: where its level moved for good, found by a library and tested.

PELT (Killick, Fearnhead and Eckley 2012, Journal of the American Statistical Association 107(500)) proposes
the places, a Welch t-test of the levels on either side confirms them; docs/history.md says why, and how often
it is wrong.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

FEWEST: Final = 6
"""Shorter series have no level before and after."""
FEWEST_BESIDE: Final = 2
PENALTY: Final = 4.0
"""Times ln(n), of squared standard deviations: what one more change point costs."""
SIGNIFICANCE: Final = 0.001
SMALLEST: Final = 0.03
"""A change of the level by less is of no interest to anybody."""
ROBUST: Final = 1.4826
SMALLEST_SPREAD: Final = 1e-3


@dataclass(frozen=True)
class Change:
    """A level that moved.

    Attributes:
        place: index of the first value of the new level.
        factor: new level / old level, geometric means.
        p_value: of the t-test; below SIGNIFICANCE.
    """

    place: int
    factor: float
    p_value: float


def find_changes(values: Sequence[float]) -> tuple[Change, ...]:
    """Find where the level of positive values moved, in their order; nowhere in fewer than FEWEST values."""
    if len(values) < FEWEST or min(values) <= 0:
        return ()
    logarithms = np.log(np.asarray(values, dtype=np.float64))
    places = _proposed(logarithms)
    while places:
        tested = [_test(logarithms, place, places) for place in places]
        weakest = max(tested, key=lambda change: change.p_value)
        if weakest.p_value <= SIGNIFICANCE and all(map(_matters, tested)):
            return tuple(tested)
        # Without the weakest, its neighbours have more values on that side: they are tested again.
        drop = weakest if weakest.p_value > SIGNIFICANCE else min(tested, key=_size)
        places = [place for place in places if place != drop.place]
    return ()


def _matters(change: Change) -> bool:
    return _size(change) >= math.log1p(SMALLEST)


def _size(change: Change) -> float:
    return abs(math.log(change.factor))


def _proposed(logarithms: "np.ndarray[tuple[int], np.dtype[np.float64]]") -> list[int]:
    """Propose places by PELT, in units of the spread from one value to the next, which ignores levels."""
    import ruptures

    steps = np.diff(logarithms)
    spread = ROBUST * float(np.median(np.abs(steps - np.median(steps)))) / math.sqrt(2)
    scaled = (logarithms / max(spread, SMALLEST_SPREAD)).reshape(-1, 1)
    fitted = ruptures.Pelt(model="l2", min_size=FEWEST_BESIDE, jump=1).fit(scaled)
    return [int(place) for place in fitted.predict(pen=PENALTY * math.log(len(logarithms)))[:-1]]


def _test(
    logarithms: "np.ndarray[tuple[int], np.dtype[np.float64]]", place: int, places: Sequence[int]
) -> Change:
    from scipy.stats import t as student

    ends = sorted({0, *places, len(logarithms)})
    at = ends.index(place)
    before, after = logarithms[ends[at - 1] : place], logarithms[place : ends[at + 1]]
    moved = float(after.mean() - before.mean())
    parts = [max(float(side.var(ddof=1)), SMALLEST_SPREAD**2) / len(side) for side in (before, after)]
    total = sum(parts)
    degrees = total**2 / sum(
        part**2 / (len(side) - 1) for part, side in zip(parts, (before, after), strict=True)
    )
    p_value = 2 * float(student.sf(abs(moved) / math.sqrt(total), degrees))
    return Change(place, math.exp(moved), p_value)

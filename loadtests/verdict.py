"""The verdict on two targets: better, worse, equivalent or inconclusive, and why."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from loadtests.intervals import RatioInterval
from loadtests.reason import Figure, Reason

MARGIN: Final = 0.05

MOST_ROUNDS: Final = 1000
"""More further pairs than this are not suggested: the ratio sits at a limit, and nobody measures so long."""

Word = Literal["better", "worse", "equivalent", "inconclusive"]
Code = Literal[
    "inside_margin",
    "beyond_margin",
    "across_margin",
    "inside_floor",
    "near_limit",
    "no_floor",
    "too_few_pairs",
    "still_warming_up",
]


@dataclass(frozen=True)
class Verdict:
    """What the interval of one metric says of the candidate against the baseline.

    Attributes:
        word: `better` or `worse` is the candidate.
        reason: which rule gave the word. Its figure `position` says where the interval lies: `across` an end
            of the margin, `outside` of it, or outside but `within_floor`.
        rounds_needed: how many further pairs of rounds would probably decide; None when it is decided, or
            when more rounds alone would not help, which the reason then says.
    """

    word: Word
    reason: Reason
    rounds_needed: int | None = None


def _verdict(word: Word, code: Code, rounds_needed: int | None = None, **figures: Figure) -> Verdict:
    return Verdict(word, Reason(code, figures), rounds_needed)


def still_warming_up(sides: Sequence[str]) -> Verdict:
    """Return the verdict on rounds of servers that still changed their speed when the budget ended."""
    return _verdict("inconclusive", "still_warming_up", sides=tuple(sides))


def noise_floor(control: RatioInterval | None) -> float | None:
    """Return the relative difference a target may show to itself; None when no control was measured.

    The control is the same target under two names. Its floor is the largest distance of its interval from 1,
    in logarithms so that 1/1.03 counts like 1.03: 0.03 says that a 3 % difference may be nothing.
    """
    if control is None:
        return None
    return math.expm1(max(abs(math.log(control.low)), abs(math.log(control.high))))


def larger_floor(floors: Sequence[float | None]) -> float | None:
    """Return the noise floor of a pair: the larger of its sides' floors; None when a side has none.

    A difference is a difference of two sides, and either may be the one that the machine disturbs.
    """
    measured = [floor for floor in floors if floor is not None]
    return max(measured) if measured and len(measured) == len(floors) else None


def decide(
    interval: RatioInterval | None,
    *,
    lower_is_better: bool,
    margin: float = MARGIN,
    noise_floor: float | None,
    without_floor: Sequence[str] = (),
) -> Verdict:
    """Return the verdict on the candidate.

    `better` or `worse` needs the whole interval outside 1/(1 + margin) to 1 + margin and beyond the noise
    floor; without a noise floor neither is said. `equivalent` needs the whole interval inside the margin.
    Everything else is `inconclusive`.

    Args:
        interval: of candidate / baseline; None when there were too few pairs.
        lower_is_better: True for a latency, False for a throughput.
        margin: relative difference that does not matter, above 0.
        noise_floor: of the pair, see `larger_floor`; None without one.
        without_floor: names of the sides that have none, for the reason.

    Raises:
        ValueError: a margin that is not above 0, or a noise floor below 0.
    """
    if not 0 < margin < math.inf or not 0 <= (noise_floor or 0) < math.inf:
        raise ValueError(f"a margin is above 0 and a noise floor not below, got {margin} and {noise_floor}")
    if interval is None:
        return _verdict("inconclusive", "too_few_pairs")
    if _inside(interval, margin):
        return _verdict("equivalent", "inside_margin")
    if noise_floor is None and abs(math.log(interval.ratio)) >= math.log1p(margin):
        return _floorless(interval, margin, without_floor)
    if _outside(interval, margin):
        return _difference(interval, lower_is_better, margin, noise_floor or 0.0)
    return _undecided(interval, margin, noise_floor or 0.0)


def _floorless(interval: RatioInterval, margin: float, sides: Sequence[str]) -> Verdict:
    """Return the verdict on what may be a difference, while nobody knows how a side differs from itself."""
    position = _position(interval, margin, 0.0)
    return _verdict("inconclusive", "no_floor", position=position, sides=tuple(sides))


def _inside(interval: RatioInterval, limit: float) -> bool:
    """Return whether the whole interval lies within 1/(1 + limit) to 1 + limit, the ends included."""
    return interval.high <= 1 + limit and interval.low >= 1 / (1 + limit)


def _outside(interval: RatioInterval, limit: float) -> bool:
    return interval.low > 1 + limit or interval.high < 1 / (1 + limit)


def _difference(interval: RatioInterval, lower_is_better: bool, margin: float, floor: float) -> Verdict:
    """Return the verdict on an interval beyond the margin, which may still be noise."""
    if not _outside(interval, floor):
        return _undecided(interval, margin, floor)
    word: Word = "better" if (interval.ratio < 1) == lower_is_better else "worse"
    return _verdict(word, "beyond_margin")


def _undecided(interval: RatioInterval, margin: float, floor: float) -> Verdict:
    position = _position(interval, margin, floor)
    if _inside_floor(interval, margin, floor):
        return _verdict("inconclusive", "inside_floor", position=position)
    more = _further_rounds(interval, margin, floor)
    if more is None:
        return _verdict("inconclusive", "near_limit", position=position, most_rounds_count=MOST_ROUNDS)
    return _verdict("inconclusive", "across_margin", more, position=position)


def _position(interval: RatioInterval, margin: float, floor: float) -> str:
    """Return where the interval lies, see `Verdict`."""
    if not _outside(interval, margin):
        return "across"
    return "outside" if _outside(interval, floor) else "within_floor"


def _inside_floor(interval: RatioInterval, margin: float, floor: float) -> bool:
    """Return whether a narrower interval around the same ratio would not decide either."""
    return math.log1p(margin) <= abs(math.log(interval.ratio)) <= math.log1p(floor)


def _further_rounds(interval: RatioInterval, margin: float, floor: float) -> int | None:
    """Estimate the pairs still missing, from a width that shrinks with the square root of their number.

    It errs to the high side with few rounds, where Student's t shrinks as well, and to the low side where
    blocks differ and the further rounds are not in blocks of their own.
    """
    shrink = _shrink_needed(interval, margin, floor)
    total = interval.pairs_count / shrink**2 if shrink > 0 else math.inf
    if total - interval.pairs_count > MOST_ROUNDS:
        return None
    return max(1, math.ceil(total) - interval.pairs_count)


def _shrink_needed(interval: RatioInterval, margin: float, floor: float) -> float:
    """Return the share of its width at which the interval would touch the limit that decides; 0 for none."""
    centre = math.log(interval.ratio)
    below, above = centre - math.log(interval.low), math.log(interval.high) - centre
    inner = math.log1p(margin)
    if abs(centre) < inner:
        return min(_room(inner + centre, below), _room(inner - centre, above))
    outer = max(inner, math.log1p(floor))
    return _room(abs(centre) - outer, below if centre > 0 else above)


def _room(distance: float, reach: float) -> float:
    return min(1.0, distance / reach) if reach > 0 else 1.0

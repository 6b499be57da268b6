"""Whether one side is right more often than chance makes it, and by how much more, of paired samples."""

import math
from typing import Final, Literal

CHANCE: Final = 0.05
STEPS: Final = 60


def more_right(
    more: int, differing_at_most: int, samples_count: int
) -> Literal["better", "worse", "inconclusive"]:
    """Judge by a sign test whether one side is right more often than chance makes it.

    Two sides differ in no more samples than each differs in from the source model, together; that many make
    the test the least likely to reject.

    Args:
        more, differing_at_most, samples_count: as `ratio_interval_of`.
    """
    from scipy.special import bdtrc  # scipy.stats takes a second to import

    if more == 0:
        return "inconclusive"
    differing = _differing(more, differing_at_most, samples_count)
    rejected = 2 * bdtrc(_alone(more, differing) - 1, differing, 0.5) < CHANCE
    return ("better" if more > 0 else "worse") if rejected else "inconclusive"


def _differing(more: int, differing_at_most: int, samples_count: int) -> int:
    """Return in how many samples the sides are taken to differ: in no more than there are."""
    return min(max(abs(more), differing_at_most), samples_count)


def _alone(more: int, differing: int) -> int:
    """Return in how many of the differing samples the side that is right more often is right alone."""
    return (differing + abs(more)) // 2


def ratio_interval_of(
    baseline: float, more: int, differing_at_most: int, samples_count: int
) -> tuple[float, float]:
    """Return the 95 % interval of candidate / baseline of the shares of right answers.

    Around the baseline's share as it is: the interval is of the difference, which is what pairs of samples
    know. Of two intervals the wider at each end: the exact one of the sign test, which therefore never
    excludes 1 without a verdict, and the score interval, which has a width where no sample differs.

    Args:
        baseline: share of right answers, above 0.
        more: in how many more samples the candidate is right; below 0 for fewer.
        differing_at_most: samples that the two can differ in.
        samples_count: of either side.
    """
    sign, differing = (1 if more >= 0 else -1), _differing(more, differing_at_most, samples_count)
    exact = _exact(abs(more), differing, samples_count)
    score = _score(abs(more), differing, samples_count)
    low, high = min(exact[0], score[0]), max(exact[1], score[1])
    ends = (low, high) if sign > 0 else (-high, -low)
    return float(max(0.0, 1 + ends[0] / baseline)), float(1 + ends[1] / baseline)


def _exact(more: int, differing: int, samples_count: int) -> tuple[float, float]:
    """Return Clopper and Pearson's interval of the sign test, as a difference of shares; 0 without any."""
    from scipy.special import betaincinv

    if not differing:
        return 0.0, 0.0
    right = _alone(more, differing)
    low = betaincinv(right, differing - right + 1, CHANCE / 2) if right else 0.0
    high = betaincinv(right + 1, differing - right, 1 - CHANCE / 2) if right < differing else 1.0
    return (2 * low - 1) * differing / samples_count, (2 * high - 1) * differing / samples_count


def _score(more: int, differing: int, samples_count: int) -> tuple[float, float]:
    """Return Tango's score interval of a difference of paired shares (1998, Statistics in Medicine 17)."""
    from scipy.special import ndtri

    limit, right = float(ndtri(1 - CHANCE / 2)), (differing + more) / 2
    alone = right, differing - right
    found = more / samples_count

    def end(outermost: float) -> float:
        near, far = found, outermost
        for _ in range(STEPS):
            middle = (near + far) / 2
            if abs(_score_of(*alone, samples_count, middle)) > limit:
                far = middle
            else:
                near = middle
        return near

    return end(-1.0), end(1.0)


def _score_of(right: float, wrong: float, count: int, difference: float) -> float:
    """Return the standardised distance of what was seen from a true `difference`."""
    a = 2 * count
    b = -right - wrong + (2 * count - right + wrong) * difference
    c = -wrong * difference * (1 - difference)
    share = (math.sqrt(max(0.0, b * b - 4 * a * c)) - b) / (2 * a)
    variance = count * (2 * share + difference * (1 - difference))
    distance = right - wrong - count * difference
    if variance <= 0:
        return math.copysign(math.inf, distance) if distance else 0.0
    return distance / math.sqrt(variance)

"""Intervals of a ratio from paired rounds: a hierarchical bootstrap, with a width that few blocks can bear.

The round inside a block inside a run is the unit of replication, never the request: requests under load are
autocorrelated. docs/statistics.md says why each choice was made and shows the simulated coverage.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

CONFIDENCE: Final = 0.95
RESAMPLES: Final = 10_000
FEWEST_PAIRS: Final = 2
LARGEST_LOGARITHM: Final = 690.0
"""A little below that of the largest floating-point number, 709.8."""

FEWEST_DEGREES: Final = 2.0
"""Floor of the degrees of freedom: with two blocks, a t of one (12.7) would hardly ever call anything."""

Blocks = Sequence[Sequence[float]]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class RatioInterval:
    """A ratio candidate / baseline and its confidence interval; all above zero, without a unit.

    Attributes:
        blocks_count, pairs_count: blocks with at least one valid pair of rounds, and pairs in all of them.
        confidence: nominal coverage of low to high, 0 to 1.

    Raises:
        ValueError: not 0 < low <= ratio <= high < infinity.
    """

    ratio: float
    low: float
    high: float
    blocks_count: int
    pairs_count: int
    confidence: float = CONFIDENCE

    @property
    def ends(self) -> tuple[float, float]:
        """Return both ends, as a record holds them."""
        return self.low, self.high

    def __post_init__(self) -> None:
        if not 0 < self.low <= self.ratio <= self.high < math.inf:
            raise ValueError(f"{self.low} <= {self.ratio} <= {self.high} is not an interval of a ratio")

    def widened(self, factor: float) -> Self:
        """Return low / factor to high * factor, for values that are known only to a factor of 1 or more.

        The SLO search looks at rates 5 % apart: where all blocks end at the same two of them, the bootstrap
        sees no spread at all, and an interval without a width would be a lie.
        """
        return replace(self, low=self.low / factor, high=self.high * factor)


@dataclass(frozen=True)
class RatioEstimate:
    """A ratio whose interval can be asked for at any confidence; see `estimate_ratio`.

    Attributes:
        centre: ln of the ratio.
        deviations: of the bootstrap's estimates from it, shape (resamples,).
        standard_error: in units of ln(ratio).
        degrees: of freedom of the standard error.
        blocks_count, pairs_count: as in RatioInterval.
    """

    centre: float
    deviations: Floats
    standard_error: float
    degrees: float
    blocks_count: int
    pairs_count: int

    def interval(self, confidence: float = CONFIDENCE) -> RatioInterval:
        """Return the interval of that nominal coverage, which lies between 0 and 1.

        Raises:
            ValueError: a confidence outside 0 to 1.
        """
        if not 0 < confidence < 1:
            raise ValueError(f"a confidence lies between 0 and 1, got {confidence}")
        below, above = _shape(self.deviations, confidence)
        width = 2 * _t_quantile(confidence, self.degrees) * self.standard_error
        return RatioInterval(
            ratio=_mirrored_exp(self.centre),
            low=_mirrored_exp(self.centre - width * below),
            high=_mirrored_exp(self.centre + width * above),
            blocks_count=self.blocks_count,
            pairs_count=self.pairs_count,
            confidence=confidence,
        )


def estimate_ratio(
    log_ratios_by_block: Blocks, *, seed: int, resamples: int = RESAMPLES
) -> RatioEstimate | None:
    """Return the ratio of two targets, ready for intervals, or None with fewer than two pairs of rounds.

    The estimate is exp of the mean over blocks of block means, so every block weighs the same however many of
    its rounds were valid. The bootstrap gives an interval its shape, Student's t its width: with few blocks
    a bootstrap knows which side is longer but is far too narrow (Hesterberg 2015, "What teachers should know
    about the bootstrap", American Statistician 69(4)). See `standard_error` for the width.

    The same data and seed give the same interval; swapping the sides (negated logarithms) gives its mirror
    image, 1/high to 1/low.

    Args:
        log_ratios_by_block: ln(candidate / baseline) of each pair of rounds, by block; empty blocks are left
            out.
        seed: of the resampling.
        resamples: how often to resample.

    Raises:
        ValueError: a logarithm that is not finite.
    """
    blocks = [_finite(block) for block in log_ratios_by_block if len(block)]
    pairs_count = sum(map(len, blocks))
    if pairs_count < FEWEST_PAIRS:
        return None
    centre = _mean_of_means(blocks)
    return RatioEstimate(
        centre=centre,
        deviations=resampled_means(blocks, seed=seed, resamples=resamples) - centre,
        standard_error=standard_error(blocks),
        degrees=degrees_of_freedom(blocks),
        blocks_count=len(blocks),
        pairs_count=pairs_count,
    )


def estimate_unpaired(
    candidate_by_block: Blocks, baseline_by_block: Blocks, *, seed: int, resamples: int = RESAMPLES
) -> RatioEstimate | None:
    """Return the ratio of two targets of two runs, or None where either has fewer than two rounds.

    No round has a partner here, so the logarithms of each side have a mean and a standard error of their own;
    the error of the difference is the root of the sum of their squares, with Welch's degrees of freedom
    (1947, Biometrika 34). What differs between two occasions and stays the same within each, such as a
    machine's mood, is in the ratio and not in its interval: nobody can know it from two runs.

    Args:
        candidate_by_block, baseline_by_block: ln(figure) of each round, by block; empty blocks are left out.
        seed, resamples: as `estimate_ratio`.

    Raises:
        ValueError: a logarithm that is not finite.
    """
    ours = estimate_ratio(candidate_by_block, seed=seed, resamples=resamples)
    theirs = estimate_ratio(baseline_by_block, seed=seed + 1, resamples=resamples)
    if ours is None or theirs is None:
        return None
    variances = ours.standard_error**2, theirs.standard_error**2
    total = sum(variances)
    share = variances[0] / total if total else 0.5
    return RatioEstimate(
        centre=ours.centre - theirs.centre,
        deviations=ours.deviations - theirs.deviations,
        standard_error=math.sqrt(total),
        degrees=1 / (share**2 / ours.degrees + (1 - share) ** 2 / theirs.degrees),
        blocks_count=min(ours.blocks_count, theirs.blocks_count),
        pairs_count=min(ours.pairs_count, theirs.pairs_count),
    )


def estimate_alike(log_ratios: Sequence[float], rounds_by_server: Blocks) -> RatioEstimate | None:
    """Return the ratio of two servers of one kind in one block, or None without a pair or without noise.

    Few pairs of rounds say little of their noise: with three of them t is 4.3, with two 12.7. But all servers
    of a kind are the same software, and the deviations of their rounds from the mean of each server are one
    sample of the same noise. The mean of n pairs has twice its variance divided by n, with as many degrees of
    freedom as there are rounds beyond the first of each server, so that even one pair has an interval. What
    meets both rounds of a pair alike cancels in their ratio and not here, which errs on the wide side.

    Args:
        log_ratios: ln of the ratio of each pair of rounds.
        rounds_by_server: ln(figure) of each round, by server: those of the pairs and all others of the kind.

    Raises:
        ValueError: a logarithm that is not finite.
    """
    pairs = _finite(log_ratios)
    servers = [_finite(rounds) for rounds in rounds_by_server if len(rounds)]
    degrees = sum(map(len, servers)) - len(servers)
    if not pairs or not degrees:
        return None
    variance = math.fsum(float(np.var(rounds)) * len(rounds) for rounds in servers) / degrees
    return RatioEstimate(
        centre=float(np.mean(pairs)),
        deviations=np.zeros(1),
        standard_error=math.sqrt(2 * variance / len(pairs)),
        degrees=float(degrees),
        blocks_count=1,
        pairs_count=len(pairs),
    )


def ratio_interval(
    log_ratios_by_block: Blocks, *, seed: int, confidence: float = CONFIDENCE, resamples: int = RESAMPLES
) -> RatioInterval | None:
    """Return the interval of one confidence; everything else as `estimate_ratio`.

    Raises:
        ValueError: a logarithm that is not finite, or a confidence outside 0 to 1.
    """
    if not 0 < confidence < 1:
        raise ValueError(f"a confidence lies between 0 and 1, got {confidence}")
    estimate = estimate_ratio(log_ratios_by_block, seed=seed, resamples=resamples)
    return estimate.interval(confidence) if estimate else None


def resampled_means(log_ratios_by_block: Blocks, *, seed: int, resamples: int = RESAMPLES) -> Floats:
    """Return the estimate in each of `resamples` bootstrap samples, shape (resamples,).

    One sample draws as many blocks as there are, with replacement, and within each drawn block as many of its
    rounds as it has, with replacement (Davison and Hinkley 1997, "Bootstrap methods and their application",
    section 3.8). Every block must have a round.
    """
    sizes = np.array([len(block) for block in log_ratios_by_block])
    padded = np.zeros((len(sizes), sizes.max()))
    for row, block in zip(padded, log_ratios_by_block, strict=True):
        row[: len(block)] = block
    source = np.random.default_rng(seed)
    drawn = source.integers(len(sizes), size=(resamples, len(sizes)))
    places = np.floor(source.random((*drawn.shape, sizes.max())) * sizes[drawn][..., None]).astype(np.intp)
    values = np.where(np.arange(sizes.max()) < sizes[drawn][..., None], padded[drawn[..., None], places], 0.0)
    return np.asarray((values.sum(axis=2) / sizes[drawn]).mean(axis=1))


def standard_error(log_ratios_by_block: Blocks) -> float:
    """Return the standard error of the estimate, in units of ln(ratio).

    The bootstrap's own variance is the sum of a part between blocks, too small by (blocks - 1) / blocks, and
    a part within them. Here the first is corrected. Where blocks do not differ this is somewhat too wide,
    because the block means already hold the noise of their rounds; where they do, it is right. There must be
    two pairs or more, and no empty block.
    """
    between, within = _parts(log_ratios_by_block)
    return math.sqrt(between + within)


def degrees_of_freedom(log_ratios_by_block: Blocks) -> float:
    """Return how many degrees of freedom the standard error has; not a whole number.

    Satterthwaite's rule (1946, Biometrics Bulletin 2(6)) for a sum of variances: near blocks - 1 where
    blocks differ, higher where the noise of rounds is all there is. At least FEWEST_DEGREES, or pairs - 1.
    """
    blocks = _levels(log_ratios_by_block)
    pairs_count = sum(map(len, blocks))
    floor = min(FEWEST_DEGREES, pairs_count - 1)
    between, within = _parts(blocks)
    # Shares of the whole rather than variances, whose squares are too small for a float when rounds agree.
    share = between / (between + within) if between else 0.0
    doubt = share**2 / (len(blocks) - 1)
    if within:
        doubt += (1 - share) ** 2 / (pairs_count - len(blocks))
    return max(1 / doubt, floor) if doubt else floor


def _parts(log_ratios_by_block: Blocks) -> tuple[float, float]:
    """Return the variance of the estimate between blocks (corrected) and within them."""
    blocks = _levels(log_ratios_by_block)
    means = [float(np.mean(block)) for block in blocks]
    within = [float(np.var(block)) / len(block) for block in blocks]
    return float(np.var(means, ddof=1)) / len(blocks), math.fsum(within) / len(blocks) ** 2


def _levels(log_ratios_by_block: Blocks) -> Blocks:
    """Make each round of a single block a block of its own: rounds are its highest level."""
    if len(log_ratios_by_block) > 1:
        return log_ratios_by_block
    return [[value] for value in log_ratios_by_block[0]]


def _mean_of_means(blocks: Blocks) -> float:
    return float(np.mean([float(np.mean(block)) for block in blocks]))


def _shape(deviations: Floats, confidence: float) -> tuple[float, float]:
    """Return which share of the interval lies below the estimate, and which above."""
    above = max(float(np.quantile(deviations, (1 + confidence) / 2)), 0.0)
    # Not the lower quantile itself: its last digit would differ from the upper one of swapped sides.
    below = max(float(np.quantile(-deviations, (1 + confidence) / 2)), 0.0)
    total = below + above
    return (below / total, above / total) if total else (0.5, 0.5)


def _t_quantile(confidence: float, degrees: float) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(degrees, (1 + confidence) / 2))


def _mirrored_exp(value: float) -> float:
    """Return exp(value) such that the negated value gives the reciprocal, to the last digit.

    In a large family two blocks have intervals beyond any floating-point number; they end at its limits.
    """
    value = max(-LARGEST_LOGARITHM, min(value, LARGEST_LOGARITHM))
    return math.exp(value) if value >= 0 else 1 / math.exp(-value)


def _finite(block: Sequence[float]) -> list[float]:
    values = [float(value) for value in block]
    if not all(map(math.isfinite, values)):
        raise ValueError(f"a logarithm of a ratio is not finite in {values}")
    return values

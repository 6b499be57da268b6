"""How often a nominal 95 % interval of loadtests/intervals.py holds the truth, and how often it calls 10 %.

    python benchmarks/interval_coverage.py --experiments 800

Simulated experiments: blocks with an effect of their own, rounds with noise, and in half of the tables one
round in twenty that is an outlier. The output is the table of docs/statistics.md; the seed is fixed.
"""

import argparse
import math
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from loadtests.intervals import RatioInterval, ratio_interval, resampled_means  # noqa: E402

SEED = 20
RESAMPLES = 500
ROUND_NOISE = 0.01
OUTLIER_SHARE = 0.05
OUTLIER_NOISE = 8 * ROUND_NOISE
BLOCKS = (2, 3, 4)
ROUNDS = (2, 3, 4, 6)
BLOCK_EFFECTS = (0.0, 0.5, 1.0, 2.0)
MARGIN = 0.05
DIFFERENCE = 0.10

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Outcome:
    """Shares of the experiments: truth within our interval, within the plain bootstrap's, and 10 % called."""

    covered: float
    covered_plain: float
    called: float


def simulate(source: np.random.Generator, blocks: int, rounds: int, effect: float, outliers: bool) -> Floats:
    """Draw the log-ratios of one experiment without a difference, shape (blocks, rounds)."""
    noise = source.normal(scale=ROUND_NOISE, size=(blocks, rounds))
    if outliers:
        hit = source.random(noise.shape) < OUTLIER_SHARE
        noise += hit * source.normal(scale=OUTLIER_NOISE, size=noise.shape)
    return noise + source.normal(scale=effect * ROUND_NOISE, size=(blocks, 1))


def plain_covers(data: list[list[float]], seed: int) -> bool:
    """Return whether the uncorrected percentile interval of the same bootstrap holds 0."""
    low, high = np.quantile(resampled_means(data, seed=seed, resamples=RESAMPLES), [0.025, 0.975])
    return bool(low <= 0 <= high)


def calls(found: RatioInterval) -> bool:
    """Return whether a real difference of 10 % would be called: the noise is the same, only shifted."""
    return found.low * (1 + DIFFERENCE) > 1 + MARGIN


def outcome(blocks: int, rounds: int, effect: float, outliers: bool, experiments: int) -> Outcome:
    """Simulate one cell of the table."""
    source = np.random.default_rng([SEED, blocks, rounds, round(10 * effect), outliers])
    seen = np.zeros(3)
    for seed in range(experiments):
        data = simulate(source, blocks, rounds, effect, outliers).tolist()
        found = ratio_interval(data, seed=seed, resamples=RESAMPLES)
        assert found is not None
        seen += (found.low <= 1 <= found.high, plain_covers(data, seed), calls(found))
    return Outcome(*(seen / experiments).tolist())


def print_table(outliers: bool, experiments: int) -> None:
    """Print one table in markdown: a row per design, a column per block effect."""
    noise = "one round in twenty an outlier" if outliers else "no outliers"
    print(f"\n{noise}: covered by ours / covered by the plain bootstrap / 10 % called\n")
    print("| blocks x rounds | " + " | ".join(f"block effect {effect:g}" for effect in BLOCK_EFFECTS) + " |")
    print("|---" * (1 + len(BLOCK_EFFECTS)) + "|")
    for blocks in BLOCKS:
        for rounds in ROUNDS:
            cells = [outcome(blocks, rounds, effect, outliers, experiments) for effect in BLOCK_EFFECTS]
            row = (f"{c.covered:.1%} / {c.covered_plain:.0%} / {c.called:.0%}" for c in cells)
            print(f"| {blocks} x {rounds} | " + " | ".join(row) + " |", flush=True)


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--experiments", type=int, default=800, help="simulated experiments per cell")
    experiments = parser.parse_args().experiments
    error = math.sqrt(0.95 * 0.05 / experiments)
    print(f"{experiments} experiments per cell: a coverage of 95 % is known to ±{2 * error:.1%}")
    for outliers in (False, True):
        print_table(outliers, experiments)


if __name__ == "__main__":
    main()

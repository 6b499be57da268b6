"""How often a comparison of several metrics and loads says anything false, with and without correction.

    python benchmarks/family_error.py --experiments 2000

Simulated experiments through the rules of loadtests/intervals.py, verdict.py and multiplicity.py. Every ratio
is truly 1.05, the edge of the margin, where a false `worse` is likeliest; and, for what the correction costs,
truly 1.10. The noise of the metrics of a round is correlated. The output is the table of docs/statistics.md;
the seed is fixed.
"""

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from loadtests.intervals import CONFIDENCE, RatioEstimate, estimate_ratio  # noqa: E402
from loadtests.multiplicity import holm  # noqa: E402
from loadtests.verdict import MARGIN, Verdict, decide  # noqa: E402

SEED = 20
RESAMPLES = 500
ROUND_NOISE = 0.01
METRICS_COUNT = 4
EDGE, DIFFERENCE = math.log1p(MARGIN), math.log1p(0.10)
DESIGNS = ((2, 3, 1), (4, 6, 3))
BLOCK_EFFECTS = (0.0, 1.0)
CORRELATIONS = (0.0, 0.5, 0.9)

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Design:
    """Blocks x rounds under some loads; `effect` of a block in units of the noise of rounds."""

    blocks: int
    rounds: int
    loads: int
    effect: float
    correlation: float


@dataclass(frozen=True)
class Calls:
    """Which metrics were called `worse`, shape (loads,) for the primary, (loads, others) for the others."""

    primary: NDArray[np.bool_]
    others: NDArray[np.bool_]
    uncorrected: NDArray[np.bool_]


def simulate(source: np.random.Generator, design: Design) -> Floats:
    """Draw log-ratios without a difference, shape (loads, metrics, blocks, rounds)."""
    shape = (design.loads, METRICS_COUNT, design.blocks)
    noise = _correlated(source, (*shape, design.rounds), design.correlation)
    return ROUND_NOISE * (noise + design.effect * _correlated(source, (*shape, 1), design.correlation))


def _correlated(source: np.random.Generator, shape: tuple[int, ...], correlation: float) -> Floats:
    """Draw standard normal numbers; those of different metrics (the second axis) are correlated."""
    common = source.normal(size=(shape[0], 1, *shape[2:]))
    return math.sqrt(correlation) * common + math.sqrt(1 - correlation) * source.normal(size=shape)


def verdict(estimate: RatioEstimate, confidence: float) -> Verdict:
    """Judge a latency by the interval of that confidence, on a machine without a noise floor."""
    return decide(estimate.interval(confidence), lower_is_better=True, noise_floor=0.0)


def judge(data: Floats, seed: int) -> Calls:
    """Judge all metrics under all loads as a comparison does: the primary metric first, then the family."""
    estimates = [[estimate_ratio(x.tolist(), seed=seed, resamples=RESAMPLES) for x in load] for load in data]
    judges = [[partial(verdict, one) for one in load if one] for load in estimates]
    primary = holm([load[0] for load in judges])
    others = holm([one for load in judges for one in load[1:]])
    alone = [one(CONFIDENCE).word for load in judges for one in load]
    return Calls(
        primary=_worse([one.verdict.word for one in primary]),
        others=_worse([one.verdict.word for one in others]),
        uncorrected=_worse(alone),
    )


def _worse(words: Sequence[str]) -> NDArray[np.bool_]:
    return np.array([word == "worse" for word in words])


def cell(design: Design, experiments: int) -> dict[str, float]:
    """Simulate one row of the table; shares of the experiments, or of single verdicts for what is called."""
    source = np.random.default_rng([SEED, design.blocks, design.loads, round(10 * design.correlation)])
    false, true = [], []
    for seed in range(experiments):
        data = simulate(source, design)
        false.append(judge(data + EDGE, seed))
        true.append(judge(data + DIFFERENCE, seed))
    return {
        "any false, uncorrected": float(np.mean([one.uncorrected.any() for one in false])),
        "any false, primary": float(np.mean([one.primary.any() for one in false])),
        "any false, others": float(np.mean([one.others.any() for one in false])),
        "10 % called, primary": float(np.mean([one.primary.mean() for one in true])),
        "10 % called, others": float(np.mean([one.others.mean() for one in true])),
        "10 % called, uncorrected": float(np.mean([one.uncorrected.mean() for one in true])),
    }


def main() -> None:
    """Print the table in markdown: a row per design, block effect and correlation."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--experiments", type=int, default=2000, help="simulated experiments per row")
    experiments = parser.parse_args().experiments
    header = False
    for blocks, rounds, loads in DESIGNS:
        for effect in BLOCK_EFFECTS:
            for correlation in CORRELATIONS:
                found = cell(Design(blocks, rounds, loads, effect, correlation), experiments)
                if not header:
                    print("| blocks x rounds, loads | block effect | correlation |", end="")
                    print(" " + " | ".join(found) + " |\n" + "|---" * (3 + len(found)) + "|")
                    header = True
                shares = " | ".join(f"{100 * share:.1f} %" for share in found.values())
                print(
                    f"| {blocks} x {rounds}, {loads} | {effect:g} | {correlation:g} | {shares} |", flush=True
                )


if __name__ == "__main__":
    main()

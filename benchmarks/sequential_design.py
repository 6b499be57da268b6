"""How often a comparison that ends when it is decided is wrong, what it finds, and how many blocks it takes.

    python benchmarks/sequential_design.py --runs 1000

Simulated runs through loadtests/sequential.py, intervals.py and verdict.py, with the looks a run really
makes: one after every block, the last when no further block fits. Beside it the fixed designs. `better` and
`worse` are false where the true ratio is 1 or the edge of the margin. The output is the table of
docs/statistics.md; the seed is fixed.
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

from loadtests.intervals import estimate_ratio  # noqa: E402
from loadtests.sequential import Look, repeated  # noqa: E402
from loadtests.verdict import MARGIN, decide  # noqa: E402

SEED = 20
RESAMPLES = 300
ROUNDS = 3
MOST_BLOCKS = 8
"""Of some 150 s each in 20 minutes."""
RATIOS = (1.0, 1 + MARGIN, 1.1, 1.2, 2.0)
NOISES = ((0.02, 0.0), (0.02, 0.02), (0.05, 0.05))
"""Standard deviations of ln(ratio): of a round, and of a block."""
FIXED = (2, 4, MOST_BLOCKS)
SERVER_S, ROUND_S = 30.0, 7.0
"""Taken for a server until it is steady, and for a round: 150 s for a block of three servers."""
SIDES = 2
UNTIL_DECIDED = "until decided"

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Outcome:
    """The word that a run ended with, and its blocks."""

    word: str
    blocks: int

    @property
    def time_s(self) -> float:
        """The time of its blocks, each with the servers of both sides and one control."""
        return self.blocks * (SIDES + 1) * (SERVER_S + ROUNDS * ROUND_S)


def simulate(source: np.random.Generator, ratio: float, noise: float, effect: float) -> Floats:
    """Draw the log-ratios of all blocks that there is time for, shape (blocks, rounds)."""
    blocks = source.normal(math.log(ratio), effect, (MOST_BLOCKS, 1))
    return blocks + source.normal(0, noise, (MOST_BLOCKS, ROUNDS))


def sequential(data: Floats, seed: int) -> Outcome:
    """Simulate one run with a look after every block."""
    looks: list[Look] = []
    word = "inconclusive"
    for blocks in range(1, MOST_BLOCKS + 1):
        looks.append(Look(blocks, blocks / MOST_BLOCKS))
        word = _word(data[:blocks], seed, looks)
        if word != "inconclusive":
            return Outcome(word, blocks)
    return Outcome(word, MOST_BLOCKS)


def _word(data: Floats, seed: int, looks: list[Look]) -> str:
    estimate = estimate_ratio(data.tolist(), seed=seed, resamples=RESAMPLES)
    assert estimate is not None
    judged = repeated(estimate, looks) if looks else estimate
    return decide(judged.interval(), lower_is_better=True, noise_floor=0.0).word


def main() -> None:
    """Print the table in markdown: a row per noise, true ratio and design."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=1000, help="simulated runs per row")
    runs = parser.parse_args().runs
    quick_s = Outcome("", FIXED[0]).time_s
    print(
        "| noise of rounds, of blocks | true ratio | design | better | worse | equivalent | blocks, mean | "
        "time over that of `quick` |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for noise, effect in NOISES:
        for ratio in RATIOS:
            source = np.random.default_rng(
                [SEED, round(100 * noise), round(100 * effect), round(100 * ratio)]
            )
            data = [simulate(source, ratio, noise, effect) for _ in range(runs)]
            rows = {UNTIL_DECIDED: [sequential(one, seed) for seed, one in enumerate(data)]}
            for blocks in FIXED:
                words = [_word(one[:blocks], seed, []) for seed, one in enumerate(data)]
                rows[f"{blocks} blocks"] = [Outcome(word, blocks) for word in words]
            for design, found in rows.items():
                shares = [
                    f"{100 * sum(one.word == word for one in found) / runs:.1f} %"
                    for word in ("better", "worse", "equivalent")
                ]
                mean = sum(one.blocks for one in found) / runs
                times_s = [one.time_s for one in found]
                where = f"{100 * noise:g} %, {100 * effect:g} %"
                took = f"{mean:.1f} | {sum(times_s) / runs / quick_s:.2f}"
                print(f"| {where} | {ratio:.2f} | {design} | {' | '.join(shares)} | {took} |", flush=True)


if __name__ == "__main__":
    main()

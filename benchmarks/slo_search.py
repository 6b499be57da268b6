"""How far the searches of one run are apart, how high they find, and how many rounds they take.

    python benchmarks/slo_search.py --runs 2000

Simulated runs of three blocks through loadtests/slo.py, each later search at the bracket of the one before as
in `tandem slo`. A simulated server keeps p99 within 20 ms up to a rate of its own in every block; what is
wrong with it is the row. The output is the table of docs/statistics.md; the seed is fixed.
"""

import argparse
import math
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from loadtests.rates import COMPILING, Phase, RateMeasurement, SearchLimits  # noqa: E402
from loadtests.reason import Reason  # noqa: E402
from loadtests.slo import DOUBLE, search  # noqa: E402
from pipelines.compare.slo import LIMITS  # noqa: E402
from pipelines.config.profiles import find_profile  # noqa: E402

SEED = 20
BLOCKS = 3
LIMIT_MS = 20.0
START_PER_S = 500.0
AGREE = 1.25
ROUND_S, CONDITIONING_S = 4.0, 9.0
"""Of load: a warm-up and a window."""
BASE_MS, STEEPNESS, CAPACITY_PER_S = 6.0, 8, 1000.0
TRUTH_PER_S = CAPACITY_PER_S * (1 - BASE_MS / LIMIT_MS) ** (1 / STEEPNESS)
"""Where p99 reaches the limit: nearly all of the capacity, as TorchServe's does."""
NOISE, BLOCK_NOISE = 0.3, 0.03
"""Standard deviations of ln(p99) from round to round, and of ln(capacity) from block to block."""
SPELL, SPELL_WITHIN, NEVER = 5.0, 15, -1000
"""Times p99, in one block of a run, from one of its first rounds on."""
STALL_MS, COLD_MS = 150.0, 28.0
COMPILES = 0.5


@dataclass(frozen=True)
class Server:
    """What is wrong with a simulated server.

    Attributes:
        cold_s: seconds of open load in which p99 is COLD_MS at least, in every block anew.
        compiles_s: seconds of open load in which compilers work in half of the rounds, which stall.
        stalls: share of rounds with a stall, whatever the rate.
        spell_rounds: so many in a row of one block have a p99 of SPELL times what it would be.
        jitter: standard deviation of ln(capacity) from round to round: a shared machine's own speed.
        sends_up_to: of the true rate, what the generator sends in half of the rounds; a tenth less always.
    """

    name: str
    cold_s: float = 0.0
    compiles_s: float = 0.0
    stalls: float = 0.0
    sends_up_to: float = math.inf
    spell_rounds: int = 0
    jitter: float = 0.0


SERVERS = (
    Server("steady"),
    Server("5 % faster or slower from round to round", jitter=0.05),
    Server("8 % faster or slower from round to round", jitter=0.08),
    Server("20 % faster or slower from round to round", jitter=0.2),
    Server("cold for 10 s of open load", cold_s=10),
    Server("cold for 20 s of open load", cold_s=20),
    Server("stalls in 5 % of rounds", stalls=0.05),
    Server("stalls in 10 % of rounds", stalls=0.10),
    Server("stalls in 15 % of rounds", stalls=0.15),
    Server("cold for 40 s of open load", cold_s=40),
    Server("cold for 10 s, stalls in 10 %", cold_s=10, stalls=0.1),
    Server("compiles for 60 s of open load", compiles_s=60),
    Server("bad spell of 10 rounds", spell_rounds=10),
    Server("bad spell of 20 rounds", spell_rounds=20),
    Server("generator nearly at its limit", sends_up_to=1.02),
)
BEFORE = SearchLimits(min_rate_per_s=5.0)
DESIGNS = {
    "before": BEFORE,
    **{name: replace(LIMITS, resolution=find_profile(name).slo_resolution) for name in ("full", "quick")},
}


@dataclass
class Simulated:
    """One fresh server of a block."""

    server: Server
    source: np.random.Generator
    capacity_per_s: float
    spell_begins: int = NEVER
    rounds_count: int = field(default=0)
    loaded_s: float = field(default=0.0)

    def measure(self, rate_per_s: float, phase: Phase) -> RateMeasurement:
        """Draw a round."""
        cold = self.loaded_s < self.server.cold_s
        compiling = self.loaded_s < self.server.compiles_s and self.source.random() < COMPILES
        self.loaded_s += CONDITIONING_S if phase == "condition" else ROUND_S
        capacity_per_s = self.capacity_per_s * math.exp(self.source.normal(0, self.server.jitter))
        left = 1 - (rate_per_s / capacity_per_s) ** STEEPNESS
        p99_ms = BASE_MS / left if left > 0 else math.inf
        p99_ms = min(p99_ms, 10 * LIMIT_MS) * math.exp(self.source.normal(0, NOISE))
        if self.spell_begins <= self.rounds_count < self.spell_begins + self.server.spell_rounds:
            p99_ms *= SPELL
        self.rounds_count += 1
        if cold:
            p99_ms = max(p99_ms, COLD_MS)
        if compiling or self.source.random() < self.server.stalls:
            p99_ms = max(p99_ms, STALL_MS)
        late = self.server.sends_up_to * TRUTH_PER_S
        chance = 0.0 if late == math.inf else min(1.0, max(0.0, 0.5 + 5 * (rate_per_s / late - 1)))
        delivered = self.source.random() >= chance
        reasons = (Reason(COMPILING, {}),) if compiling else ()
        return RateMeasurement(rate_per_s, p99_ms, 0.0, delivered=delivered, reasons=reasons)


@dataclass(frozen=True)
class Outcome:
    """The searches of a run: what each found, None if it gave up, the block's true rate, and its rounds."""

    rates: tuple[float | None, ...]
    truths: tuple[float, ...]
    rounds: tuple[int, ...]


def simulate(server: Server, limits: SearchLimits, source: np.random.Generator) -> Outcome:
    """Search once per block."""
    start, step = START_PER_S, DOUBLE
    rates: list[float | None] = []
    truths, rounds = [], []
    spell_block = int(source.integers(BLOCKS))
    for block in range(BLOCKS):
        factor = math.exp(source.normal(0, BLOCK_NOISE))
        begins = int(source.integers(SPELL_WITHIN)) if block == spell_block else NEVER
        capacity_per_s = CAPACITY_PER_S * factor
        one = Simulated(server, source, capacity_per_s, begins)
        found = search(
            one.measure, p99_limit_ms=LIMIT_MS, start_rate_per_s=start, first_step=step, limits=limits
        )
        rates.append(found.rate_per_s)
        truths.append(TRUTH_PER_S * factor)
        rounds.append(len(found.measurements))
        if found.rate_per_s is not None:
            start, step = found.rate_per_s, DOUBLE
            if found.breaks_at_per_s:
                step = min(max(found.breaks_at_per_s / start, 1 + limits.resolution), DOUBLE)
    return Outcome(tuple(rates), tuple(truths), tuple(rounds))


def _agree(one: Outcome) -> bool:
    rates = [rate for rate in one.rates if rate]
    return len(rates) == len(one.rates) and max(rates) / min(rates) <= AGREE


def row(server: Server, design: str, limits: SearchLimits, runs: int) -> str:
    """Simulate runs and say how they end."""
    outcomes = [simulate(server, limits, np.random.default_rng([SEED, one])) for one in range(runs)]
    shares = [
        rate / truth for one in outcomes for rate, truth in zip(one.rates, one.truths, strict=True) if rate
    ]
    low, middle, high = np.percentile(shares, [5, 50, 95])
    rounds = [sum(one.rounds) for one in outcomes]
    cells = (
        *(server.name, design, f"{fmean(map(_agree, outcomes)):.1%}"),
        f"{middle:.2f} ({low:.2f} to {high:.2f})",
        f"{fmean(rounds):.0f}, {np.percentile(rounds, 95):.0f}",
    )
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Print the table in markdown: a row per server and design."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=2000, help="simulated runs per row")
    runs = parser.parse_args().runs
    print("| server | search | three agree within 25 % | found / true (9 of 10) | rounds: mean, 95 % |")
    print("|---|---|---|---|---|")
    for server in SERVERS:
        for design, limits in DESIGNS.items():
            print(row(server, design, limits, runs))


if __name__ == "__main__":
    main()

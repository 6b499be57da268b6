"""How well the tests for a warm server work, by simulation: when they call it steady, and what they miss.

    python benchmarks/conditioning.py [--runs 100] [--seed 1]

Every row is a shape of throughput over seconds of load, with noise in each second. `early` is the share of
runs in which the server was called steady while its final speed was still more than 15 % higher: a miss.
`never` is the share not called steady within the budget of 60 s: a false alarm where it was steady.
The second table is the rule for drifting rounds, the third the same on a machine whose own speed changes from
round to round, with and without timing a fixed computation beside each round.
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from loadtests.conditioning import CHANGE_LIMIT, Second, judge_seconds
from loadtests.drift import find_drift
from pipelines.measure.conditioning import TURN_S

BUDGET_S = 60
NOISES = (0.02, 0.05, 0.10)
CPU_S = 0.9
STEPS = (1.0, 1.1, 1.2, 1.5, 2.0)
"""True last over first of three rounds."""
MACHINES = (0.07, 0.14)
PROBE_NOISE = 0.05
"""As the embedded server's rounds were seen to follow the computation where the machine varied by 14 %."""
Shape = Callable[[int], float]


def flat(_second: int) -> float:
    """Stay steady from the start."""
    return 1000.0


def ramp(second: int) -> float:
    """Climb straight to the double within thirty seconds."""
    return 500 * (1 + min(second, 30) / 30)


def java(second: int) -> float:
    """Climb as TorchServe was seen to do in steps of five seconds."""
    return float(np.interp(second, [2, 7, 12, 17, 22, 27], [422, 613, 935, 1150, 1216, 1223]))


def staircase(second: int) -> float:
    """Simulate compilers that come one after the other, less than ten seconds apart."""
    steps = ((5, 500), (12, 700), (20, 900))
    return next((float(rate) for end, rate in steps if second < end), 1000.0)


def late_step(second: int) -> float:
    """Double after twenty flat seconds: no test before that can know; the rounds' drift shows it."""
    return 500.0 if second < 20 else 1000.0


def dips(second: int) -> float:
    """Stay level after twelve seconds, with single seconds at four fifths until the twenty-eighth."""
    return 800.0 if second in (17, 22, 27) else java(second)


SHAPES: tuple[Shape, ...] = (flat, ramp, java, staircase, late_step, dips)


@dataclass(frozen=True)
class Outcome:
    """Of one shape and noise: when it was called steady (median seconds), and how often early or never."""

    median_s: float | None
    early_share: float
    never_share: float


def simulate(shape: Shape, noise: float, runs: int, source: np.random.Generator) -> Outcome:
    """Let the conditioning watch `runs` servers of one shape."""
    called = [_called_after(shape, noise, source) for _ in range(runs)]
    known = [second for second in called if second is not None]
    early = sum(shape(second) * (1 + CHANGE_LIMIT) < shape(BUDGET_S) for second in known)
    return Outcome(float(np.median(known)) if known else None, early / runs, 1 - len(known) / runs)


def _called_after(shape: Shape, noise: float, source: np.random.Generator) -> int | None:
    seconds: list[Second] = []
    for number in range(BUDGET_S):
        rate = shape(number) * float(np.exp(noise * source.standard_normal()))
        resumed = number > 0 and number % TURN_S == 0
        seconds.append(Second(max(1, round(rate)), 5.0, CPU_S, resumed))
        if judge_seconds(seconds).state == "steady":
            return number + 1
    return None


def drift_share(step: float, noise: float, runs: int, source: np.random.Generator) -> float:
    """Return the share of blocks of three rounds found to drift; `step` is the true last over first."""
    true = np.array([1.0, np.sqrt(step), step])
    found = [
        find_drift(list(true * np.exp(noise * source.standard_normal(3)))) is not None for _ in range(runs)
    ]
    return sum(found) / runs


def restless_share(
    step: float, machine: float, runs: int, source: np.random.Generator, *, timed: bool
) -> float:
    """Return the same where the machine's speed has noise `machine` and the computation follows to 5 %."""
    true = np.array([1.0, np.sqrt(step), step])
    found = 0
    for _ in range(runs):
        speeds = np.exp(machine * source.standard_normal(3))
        rounds = true * speeds * np.exp(PROBE_NOISE * source.standard_normal(3))
        found += find_drift(list(rounds), list(1 / speeds) if timed else ()) is not None
    return found / runs


def main(arguments: list[str]) -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    source = np.random.default_rng(options.seed)
    print(f"conditioning, {options.runs} runs each, noise of a second's throughput")
    for shape in SHAPES:
        for noise in NOISES:
            one = simulate(shape, noise, options.runs, source)
            after = "never" if one.median_s is None else f"{one.median_s:4.0f} s"
            print(
                f"{shape.__name__:10} noise {noise:4.0%}  steady after {after}  "
                f"early {one.early_share:4.0%}  never {one.never_share:4.0%}",
                flush=True,
            )
    print("\nthree rounds, noise of a round's throughput: share said to drift")
    for step in STEPS:
        shares = [drift_share(step, noise, 20 * options.runs, source) for noise in (0.02, 0.03, 0.05)]
        print(f"last/first {step:3.1f}   " + "   ".join(f"{share:5.1%}" for share in shares))
    print("\nthe same on a restless machine, noise of its speed: share said to drift, untimed and timed")
    for step in STEPS:
        shares = [
            restless_share(step, machine, 20 * options.runs, source, timed=timed)
            for machine in MACHINES
            for timed in (False, True)
        ]
        print(f"last/first {step:3.1f}   " + "   ".join(f"{share:5.1%}" for share in shares))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

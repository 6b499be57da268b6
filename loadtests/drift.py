"""Did the rounds of one side in one block still change in one direction? From one figure per round, in order.

Three rounds are too few for a test of significance, so this is a rule with simulated error rates
(docs/statistics.md): a change from the first to the last that noise of a steady server rarely makes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

LIMIT: Final = 0.25
"""Last over first, as a relative change in either direction, that is a drift whatever lies between."""

IN_ORDER_LIMIT: Final = 0.15
"""The same where every round goes on in the direction of the one before it."""

FEWEST_ROUNDS: Final = 2


@dataclass(frozen=True)
class Drift:
    """A change of speed from the first to the last round; 0.2 is 20 % faster, below zero is slower."""

    change: float

    @property
    def climbs(self) -> bool:
        """Whether the server still got faster, which more conditioning may end."""
        return self.change > 0


def find_drift(speeds: Sequence[float], probes_ms: Sequence[float | None] = ()) -> Drift | None:
    """Return how the speeds of rounds, in order and above zero, drift; None where they do not.

    A machine that changes its own speed from round to round makes a steady server look like one that warms
    up. So where every round knows how long a fixed computation took beside it, what would be no drift on a
    machine of one speed is none.

    Args:
        speeds: any figure that is higher the faster the server is: throughput, or 1 / p50.
        probes_ms: how long that computation took on the server's cores in each round.
    """
    found = _drift(speeds)
    timed_ms = [probe_ms for probe_ms in probes_ms if probe_ms]
    if found is None or len(timed_ms) != len(speeds):
        return found
    own = _drift([speed * probe_ms for speed, probe_ms in zip(speeds, timed_ms, strict=True)])
    return found if own is not None and own.climbs == found.climbs else None


def _drift(speeds: Sequence[float]) -> Drift | None:
    if len(speeds) < FEWEST_ROUNDS:
        return None
    ratio = speeds[-1] / speeds[0]
    limit = 1 + (IN_ORDER_LIMIT if _in_order(speeds) else LIMIT)
    return Drift(ratio - 1) if not 1 / limit <= ratio <= limit else None


def _in_order(speeds: Sequence[float]) -> bool:
    """Return whether three or more all rise or all fall; two always do, which says nothing."""
    if len(speeds) <= FEWEST_ROUNDS:
        return False
    steps = [after > before for before, after in pairwise(speeds)]
    return all(steps) or not any(steps)

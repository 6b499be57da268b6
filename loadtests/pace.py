"""Holds a closed load back, so that a server gets no more requests per second than the user allowed."""

import time
from typing import Final

import gevent  # type: ignore[import-untyped]

from loadtests.arrivals import NS_PER_S
from loadtests.ledger import Ledger

BURST_NS: Final = NS_PER_S // 100
"""Requests that happen to come at the same moment are not held back for that: a second may have 1 % more."""


class Pace:
    """Turns for all users of a round, at the highest rate that is allowed; none is made up for.

    Attributes:
        held_count: requests of the window that had to wait for their turn.
    """

    def __init__(self, max_rate_per_s: float) -> None:
        self._gap_ns = round(NS_PER_S / max_rate_per_s)
        self._next_ns = 0
        self.held_count = 0

    def turn_ns(self, now_ns: int) -> int:
        """Take the next turn, and return when it is; not before `now_ns`."""
        due_ns = max(now_ns, self._next_ns)
        self._next_ns = due_ns + self._gap_ns
        return max(now_ns, due_ns - BURST_NS)

    def wait(self, ledger: Ledger) -> None:
        """Wait for the next turn, or for the end of the round if that comes first."""
        now_ns = time.monotonic_ns()
        turn_ns = self.turn_ns(now_ns)
        if turn_ns == now_ns:
            return
        gevent.sleep(max(0, min(turn_ns, ledger.end_ns) - now_ns) / NS_PER_S)
        self.held_count += ledger.window_start_ns <= turn_ns < ledger.end_ns

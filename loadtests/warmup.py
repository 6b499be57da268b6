"""Cuts a warm-up into slices and decides when it is over: when the last windows agree, or at a limit."""

import itertools
import statistics
from collections import deque
from typing import Final

from loadtests.arrivals import NS_PER_S
from loadtests.statistics import NS_PER_MS
from loadtests.steady import WINDOWS_NEEDED, Window, is_steady

SLICE_NS: Final = NS_PER_S // 4
"""What windows are made of, and how often they are compared."""

LENGTHS: Final = (1, 2, 4, 8)
"""Slices per window: short ones see a warm server soon, long ones average over delays that vary much."""

ENOUGH: Final = 10
"""Requests a window needs: one more or less of them is 10 %, as much as windows may differ."""


class WarmUp:
    """Watches the successful requests of a warm-up.

    Four times a second it looks back over the last three windows of 0.25 s, of 0.5 s, of 1 s and of 2 s, as
    far as the warm-up reaches back: the server is warm when those of one length agree. A drift shows in
    windows of every length; noise does not.

    Under open load the clock is the schedule's own, which ticks once for every arrival that is due, so that
    all windows hold equally many: by the wall clock, 50 random arrivals in one window and 60 in the next
    would look like an unsteady server.

    Args:
        start_ns: when the warm-up began, monotonic nanoseconds.
        limit_ns: after which it is over in any case.
        rate_per_s: of open load; None under closed load.

    Attributes:
        steady: whether the last three windows of some length agreed.
    """

    def __init__(self, start_ns: int, limit_ns: int, rate_per_s: float | None = None) -> None:
        self.steady = False
        self._start_ns = start_ns
        self._limit_ns = start_ns + limit_ns
        self._tick_ns = None if rate_per_s is None else NS_PER_S / rate_per_s
        self._slices: deque[list[int]] = deque(maxlen=WINDOWS_NEEDED * max(LENGTHS))
        self._latencies_ns: list[int] = []
        self._end_ns = start_ns + SLICE_NS

    def is_over(self, now_ns: int) -> bool:
        """Return whether the server is warm, or the limit reached."""
        return self.steady or now_ns >= self._limit_ns

    def enter(self, done_ns: int, latency_ns: int, due_count: int) -> None:
        """Enter one successful request; `due_count`: how many arrivals of open load have been due so far."""
        at_ns = done_ns if self._tick_ns is None else self._start_ns + round(due_count * self._tick_ns)
        while at_ns >= self._end_ns:
            self._close()
        self._latencies_ns.append(latency_ns)

    def _close(self) -> None:
        """End the current slice, which may be an empty one, and look back."""
        self._slices.append(self._latencies_ns)
        self._latencies_ns = []
        self._end_ns += SLICE_NS
        self.steady = self.steady or any(map(self._agrees, LENGTHS))

    def _agrees(self, length: int) -> bool:
        """Return whether the last three windows of `length` slices agree and have enough requests."""
        needed = WINDOWS_NEEDED * length
        if len(self._slices) < needed:
            return False
        last = list(self._slices)[-needed:]
        windows = [list(itertools.chain(*last[at : at + length])) for at in range(0, needed, length)]
        if min(map(len, windows)) < ENOUGH:
            return False
        return is_steady([_window(window, length * SLICE_NS) for window in windows])


def _window(latencies_ns: list[int], length_ns: int) -> Window:
    throughput_per_s = len(latencies_ns) * NS_PER_S / length_ns
    return Window(throughput_per_s, statistics.median(latencies_ns) / NS_PER_MS)

"""Cuts a warm-up into windows and decides when it is over: when the last ones agree, or at a limit."""

import itertools
import statistics
from collections import deque
from typing import Final

from loadtests.arrivals import NS_PER_S
from loadtests.plan import SLOWEST_WARMUP_S
from loadtests.statistics import NS_PER_MS
from loadtests.steady import WINDOWS_NEEDED, Window, is_steady

SLICE_NS: Final = NS_PER_S // 4
"""What windows are made of, and how often they are compared."""

LENGTHS: Final = (1, 2, 4, 8)
"""Slices per window: short ones see a warm server soon, long ones average over delays that vary much."""

ENOUGH: Final = 10
"""Requests a window of so many slices needs: one more or less is 10 %, as much as windows may differ."""

FEW: Final = 4
"""Requests of a window that ends with a request, and so holds no fraction of one."""

SLOWEST_NS: Final = round(SLOWEST_WARMUP_S * NS_PER_S)


class WarmUp:
    """Watches the successful requests of a warm-up.

    Four times a second it looks back over the last three windows of 0.25 s, of 0.5 s, of 1 s and of 2 s, as
    far as the warm-up reaches back: the server is warm when those of one length agree. A drift shows in
    windows of every length; noise does not.

    Where none of these windows can hold ten requests before the limit, windows of a few requests take their
    place, as many as there are users or a multiple: users who wait for a busy server are answered in
    convoys. The limit then waits for twice as many as are compared, half a minute at most, unless a request
    fails.

    Under open load the clock is the schedule's own, which ticks once for every arrival that is due, so that
    all windows hold equally many: by the wall clock, 50 random arrivals in one window and 60 in the next
    would look like an unsteady server.

    Args:
        start_ns: when the warm-up began, monotonic nanoseconds.
        limit_ns: after which it is over in any case.
        rate_per_s: of open load; None under closed load.
        users_count: of closed load.

    Attributes:
        steady: whether the last three windows of some length agreed.
    """

    def __init__(
        self, start_ns: int, limit_ns: int, rate_per_s: float | None = None, users_count: int = 1
    ) -> None:
        self.steady = False
        self._start_ns = start_ns
        self._limit_ns = start_ns + limit_ns
        self._few = users_count * -(-FEW // users_count)
        self._sparse_ns = min(max(LENGTHS) * SLICE_NS, limit_ns / WINDOWS_NEEDED) * self._few / ENOUGH
        self._requests: deque[tuple[int, int]] = deque(maxlen=WINDOWS_NEEDED * self._few + 1)
        self._count = 0
        self._failed = False
        self._tick_ns = None if rate_per_s is None else NS_PER_S / rate_per_s
        self._slices: deque[list[int]] = deque(maxlen=WINDOWS_NEEDED * max(LENGTHS))
        self._latencies_ns: list[int] = []
        self._end_ns = start_ns + SLICE_NS

    def is_over(self, now_ns: int) -> bool:
        """Return whether the server is warm, or the limit reached."""
        if self.steady or now_ns < self._limit_ns:
            return self.steady
        is_sparse = self._count * self._sparse_ns < self._few * (now_ns - self._start_ns)
        told = self._failed or not is_sparse or self._count >= 2 * WINDOWS_NEEDED * self._few
        return told or now_ns >= max(self._limit_ns, self._start_ns + SLOWEST_NS)

    def enter(self, done_ns: int, latency_ns: int, due_count: int) -> None:
        """Enter one successful request; `due_count`: how many arrivals of open load have been due so far."""
        at_ns = done_ns if self._tick_ns is None else self._start_ns + round(due_count * self._tick_ns)
        while at_ns >= self._end_ns:
            self._close()
        self._latencies_ns.append(latency_ns)
        self._requests.append((at_ns, latency_ns))
        self._count += 1
        self.steady = self.steady or self._few_agree()

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

    def fail(self) -> None:
        """Enter a request that failed: such a server gets no more time than any other."""
        self._failed = True

    def _few_agree(self) -> bool:
        """Return whether the last three windows of a few requests agree, where no others can hold enough."""
        last = WINDOWS_NEEDED * self._few
        if len(self._requests) <= last:
            return False
        if self._requests[-1][0] - self._requests[0][0] <= WINDOWS_NEEDED * self._sparse_ns:
            return False
        requests, windows = list(self._requests), []
        ends = range(0, last + 1, self._few)
        for before, end in itertools.pairwise(ends):
            length_ns = requests[end][0] - requests[before][0]
            if length_ns <= 0:
                return False
            windows.append(_window([latency for _, latency in requests[before + 1 : end + 1]], length_ns))
        return is_steady(windows)


def _window(latencies_ns: list[int], length_ns: int) -> Window:
    throughput_per_s = len(latencies_ns) * NS_PER_S / length_ns
    return Window(throughput_per_s, statistics.median(latencies_ns) / NS_PER_MS)

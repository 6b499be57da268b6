"""Waiting for a moment so near that going to sleep for it would be late.

A core that sleeps wakes up to half a millisecond late in a virtual machine, and with cold caches. So the last
part of a wait is spent awake, polling the event loop, which goes on reading answers meanwhile.
"""

import time
from collections.abc import Callable
from typing import Final

import gevent  # type: ignore[import-untyped]

from loadtests.arrivals import NS_PER_S

LONGEST_NS: Final = 800_000
SHARE_LIMIT: Final = 0.4
"""Of the core, what polling may take."""

BUSY_LIMIT: Final = 0.75
"""Of the core, what work and polling may take together. The kernel stops a process of real-time priority for
50 ms in every second of which it takes 95 % (`sched_rt_runtime_us`), and has work of its own there."""

IDLE_ENOUGH: Final = 0.5
"""Below it, polling may take more again."""

LOOK_NS: Final = 100_000_000
SMALLEST_PART: Final = 16
"""Of the longest time, what polling comes down to on a core that is too busy."""


def ahead_ns(rate_per_s: float) -> int:
    """Return how long before each of `rate_per_s` arrivals to be awake."""
    return round(min(LONGEST_NS, SHARE_LIMIT / rate_per_s * NS_PER_S))


class LastMoment:
    """Waits by polling, and counts how long, for that is no work.

    Args:
        longest_ns: how long before a moment the caller may come here at most; 0 for never.
        cpu_ns: reads the processor time of this process, nanoseconds.

    Attributes:
        ahead_ns: how long before a moment the caller shall come here, see `adapt`.
        polled_ns: processor time in which there was nothing to do but poll.
    """

    def __init__(self, longest_ns: int, cpu_ns: Callable[[], int] = time.process_time_ns) -> None:
        self.ahead_ns = longest_ns
        self.polled_ns = 0
        self._longest_ns = longest_ns
        self._cpu_ns = cpu_ns
        self._looked_ns: int | None = None
        self._cpu_then_ns = 0
        self._works_count = 0
        self._counted_until_ns = 0

    def adapt(self, now_ns: int) -> None:
        """Adapt ten times a second: poll half as long if the core is too busy, twice as long if it idles."""
        if self._longest_ns == 0 or (self._looked_ns is not None and now_ns - self._looked_ns < LOOK_NS):
            return
        cpu_ns = self._cpu_ns()
        if self._looked_ns is not None:
            busy_share = (cpu_ns - self._cpu_then_ns) / (now_ns - self._looked_ns)
            if busy_share > BUSY_LIMIT:
                self.ahead_ns //= 2
            elif busy_share < IDLE_ENOUGH:
                self.ahead_ns = min(2 * self.ahead_ns, self._longest_ns)
            self.ahead_ns = max(self.ahead_ns, self._longest_ns // SMALLEST_PART)
        self._looked_ns, self._cpu_then_ns = now_ns, cpu_ns

    def note_work(self) -> None:
        """Say that something else was done: the poll it fell into does not count as one."""
        self._works_count += 1

    def wait_until(self, due_ns: int) -> None:
        """Return at `due_ns` of the monotonic clock; other greenlets run meanwhile, whenever they can."""
        while (before_ns := time.monotonic_ns()) < due_ns:
            works_count = self._works_count
            gevent.idle()
            after_ns = time.monotonic_ns()
            if works_count == self._works_count:
                # Several may wait at a time; what they have in common counts once.
                self.polled_ns += max(0, after_ns - max(before_ns, self._counted_until_ns))
                self._counted_until_ns = after_ns


def let_answers_in() -> None:
    """Have the event loop read what has come by now, before the caller goes on.

    `gevent.sleep(0)` runs greenlets that are ready, and does not look at the sockets.
    """
    hub = gevent.get_hub()
    with hub.loop.timer(0, priority=-1) as after_the_sockets:
        hub.wait(after_the_sockets)

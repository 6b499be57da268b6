"""Waiting for a moment so near that going to sleep for it would be late.

A core that sleeps wakes up to half a millisecond late in a virtual machine, and with cold caches. So the last
part of a wait is spent awake, polling the event loop, which goes on reading answers meanwhile.
"""

import time
from typing import Final

import gevent  # type: ignore[import-untyped]

LONGEST_NS: Final = 800_000
SHARE_LIMIT: Final = 0.4
"""Of the core, what polling may take: the kernel has work there too, and yields to real-time priority."""

_NS_PER_S: Final = 1_000_000_000


def ahead_ns(rate_per_s: float) -> int:
    """Return how long before each of `rate_per_s` arrivals to be awake."""
    return round(min(LONGEST_NS, SHARE_LIMIT / rate_per_s * _NS_PER_S))


class LastMoment:
    """Waits by polling, and counts how long, for that is no work.

    Args:
        ahead_ns: how long before a moment the caller means to come here; 0 for never.

    Attributes:
        polled_ns: processor time in which there was nothing to do but poll.
    """

    def __init__(self, ahead_ns: int) -> None:
        self.ahead_ns = ahead_ns
        self.polled_ns = 0
        self._works_count = 0
        self._counted_until_ns = 0

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

"""Was an open load sent as it was planned? Pure functions: numbers in, numbers out. See docs/metrics.md."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from loadtests.arrivals import NS_PER_S

LATE_NS: Final = 1_000_000
"""A request is late when it is sent more than this after its time."""


def lateness_ns(scheduled_ns: NDArray[Any], sent_ns: NDArray[Any]) -> NDArray[np.int64]:
    """Return how long after its time each request was sent, int64 nanoseconds, shape (requests,)."""
    return np.asarray(sent_ns, dtype=np.int64) - np.asarray(scheduled_ns, dtype=np.int64)


def late_share(scheduled_ns: NDArray[Any], sent_ns: NDArray[Any], limit_ns: int = LATE_NS) -> float | None:
    """Return the share of requests sent more than `limit_ns` after their time; None without requests."""
    late = lateness_ns(scheduled_ns, sent_ns) > limit_ns
    return float(late.mean()) if len(late) else None


def offered_rate(scheduled_ns: NDArray[Any], start_ns: int, end_ns: int) -> float | None:
    """Return requests per second due from `start_ns` on and before `end_ns`; None without a window.

    Args:
        scheduled_ns: the schedule, whether or not its requests were ever sent; monotonic nanoseconds.
        start_ns, end_ns: the measured window, on the same clock.
    """
    return _rate_within(np.asarray(scheduled_ns), start_ns, end_ns)


def achieved_rate(
    scheduled_ns: NDArray[Any], sent_ns: NDArray[Any], start_ns: int, end_ns: int
) -> float | None:
    """Return requests per second due in the window and sent before it ended; None without a window.

    Sent, not answered: a server that falls behind is a finding, a generator that does is a broken round. A
    request is still counted as sent in the window when it was due so near the end that it left up to LATE_NS
    after it.
    """
    due = np.asarray(scheduled_ns)
    return _rate_within(due[np.asarray(sent_ns) < end_ns + LATE_NS], start_ns, end_ns)


def delivered_share(offered_per_s: float | None, achieved_per_s: float | None) -> float | None:
    """Return achieved / offered; None when either is unknown or nothing was offered."""
    if achieved_per_s is None or not offered_per_s:
        return None
    return achieved_per_s / offered_per_s


def _rate_within(times_ns: NDArray[Any], start_ns: int, end_ns: int) -> float | None:
    if end_ns <= start_ns:
        return None
    inside = (times_ns >= start_ns) & (times_ns < end_ns)
    return int(inside.sum()) * NS_PER_S / (end_ns - start_ns)

"""Is the server warm? Whether the last windows of a warm-up agree; loadtests/warmup.py makes the windows."""

from collections.abc import Sequence
from typing import Final, NamedTuple

WINDOWS_NEEDED: Final = 3

AGREEMENT: Final = 1.10
"""Largest over smallest of the last windows, in throughput and in p50, that still counts as agreement."""


class Window(NamedTuple):
    """Figures of one window of a warm-up.

    Attributes:
        throughput_per_s: successful requests per second.
        p50_ms: their median latency; None when there were none.
    """

    throughput_per_s: float
    p50_ms: float | None


def is_steady(windows: Sequence[Window]) -> bool:
    """Return whether the last three consecutive windows agree within 10 % in throughput and in p50."""
    last = windows[-WINDOWS_NEEDED:]
    medians = [window.p50_ms for window in last if window.p50_ms is not None]
    if len(medians) < WINDOWS_NEEDED:
        return False
    return _agree(medians) and _agree([window.throughput_per_s for window in last])


def _agree(values: Sequence[float]) -> bool:
    return min(values) > 0 and max(values) <= AGREEMENT * min(values)

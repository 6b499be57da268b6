"""Figures of requests as figures of their rows: one sample each, however many share a request."""

from collections.abc import Sequence
from statistics import median

from pipelines.record.rounds import RoundRecord

Interval = tuple[float, float]


def rows_per_s(requests_per_s: float | None, rows: int) -> float | None:
    """Return the rows answered per second; None without a rate of requests."""
    return None if requests_per_s is None else requests_per_s * rows


def ms_per_row(request_ms: float | None, rows: int) -> float | None:
    """Return a request's time over its rows; None without one."""
    return None if request_ms is None else request_ms / rows


def interval_per_row(request_ms: Interval | None, rows: int) -> Interval | None:
    """Return both ends of a request's interval over its rows; None without one."""
    return None if request_ms is None else (request_ms[0] / rows, request_ms[1] / rows)


def requests_per_run(rounds: Sequence[RoundRecord], load: str) -> float | None:
    """Return how many requests shared a run of the model: the median of a load's valid rounds that tell."""
    valid = [record for record in rounds if record.valid and record.load == load]
    shared = [record.requests_per_run for record in valid if record.requests_per_run is not None]
    return median(shared) if shared else None

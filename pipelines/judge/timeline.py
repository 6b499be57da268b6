"""A round stretch by stretch, so that drift and pauses are seen; bounded for a run of any length."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from loadtests.statistics import NS_PER_MS, percentile
from pipelines.record.rounds import RoundRecord, SliceRecord
from pipelines.units import NS_PER_S

RUN_SLICES: Final = 600
ROUND_SLICES: Final = 20


@dataclass(frozen=True)
class Point:
    """A stretch of a round: seconds since the run began, latencies in ms, requests per second."""

    at_s: float
    p50_ms: float | None
    max_ms: float | None
    per_s: float | None


def points_of(record: RoundRecord, start_s: float) -> list[Point]:
    """Return the stretches of a round that began `start_s` after the run's first; one where it has none."""
    if not record.slices:
        middle, latency = start_s + record.window_s / 2, record.latency_ms
        return [Point(middle, latency.p50, latency.max, record.throughput_per_s)]
    return [
        Point(
            start_s + part.start_s + part.length_s / 2,
            part.p50_ms,
            part.max_ms,
            part.requests_count / part.length_s,
        )
        for part in record.slices
    ]


def slices_per_round(rounds_count: int) -> int:
    """Return how many stretches each of so many rounds has: fewer in a long run, none among many hundreds."""
    return min(ROUND_SLICES, RUN_SLICES // max(1, rounds_count))


def slice_round(
    ended_ns: NDArray[np.int64], latency_ns: NDArray[np.int64], window_s: float, count: int
) -> tuple[SliceRecord, ...]:
    """Return `count` equal stretches of the window.

    Args:
        ended_ns: when each successful request ended, from the round's first request on, shape (requests,).
        latency_ns: of the same requests.
        window_s: length of the window in seconds; what ended later is in the last stretch.
        count: 0 or more.
    """
    if not count or not window_s > 0:
        return ()
    length_s = window_s / count
    place = np.clip((ended_ns / (length_s * NS_PER_S)).astype(np.int64), 0, count - 1)
    order = np.argsort(place, kind="stable")
    ends = np.searchsorted(place[order], np.arange(count + 1))
    sorted_ns = latency_ns[order]
    return tuple(
        _slice(number * length_s, length_s, sorted_ns[ends[number] : ends[number + 1]])
        for number in range(count)
    )


def _slice(start_s: float, length_s: float, latency_ns: NDArray[np.int64]) -> SliceRecord:
    has_latencies = len(latency_ns) > 0
    return SliceRecord(
        start_s=start_s,
        length_s=length_s,
        requests_count=len(latency_ns),
        p50_ms=percentile(latency_ns, 50) / NS_PER_MS if has_latencies else None,
        max_ms=float(latency_ns.max()) / NS_PER_MS if has_latencies else None,
    )

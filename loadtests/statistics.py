"""Figures from recorded requests. Pure functions: numbers in, numbers out. See docs/metrics.md."""

import functools
import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from loadtests.reason import Reason

PERCENTILE_METHOD: Final = "linear"
"""numpy's name for the method: between the two nearest ranks, linearly (type 7 of Hyndman and Fan, 1996)."""

PERCENTILES: Final = (50, 90, 95, 99)
CONFIDENCE: Final = 0.99
"""Of the rule for how many samples a percentile needs."""
INTERVAL_CONFIDENCE: Final = 0.95
STATUS_OK: Final = 200
WRONG: Final = 0
"""Value of `correct` for an answer that was checked and found wrong (1 right, -1 not checked)."""

NS_PER_MS: Final = 1e6

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class LatencySummary:
    """Latencies of successful requests in milliseconds; None with a reason where there are too few of them.

    The keys of `reasons` are the names of the fields that are None. `intervals` holds the interval of each
    percentile, see `percentile_interval`; None where the percentile is.
    """

    p50: float | None
    p90: float | None
    p95: float | None
    p99: float | None
    min: float | None
    max: float | None
    mean: float | None
    reasons: dict[str, Reason]
    intervals: dict[str, tuple[float, float] | None]


def succeeded(status: NDArray[Any], correct: NDArray[Any]) -> Bools:
    """Say for each request whether it was answered with 200 and not found wrong; shape (requests,)."""
    return np.asarray((status == STATUS_OK) & (correct != WRONG))


def latency_ns(
    scheduled_ns: NDArray[np.int64], sent_ns: NDArray[np.int64], done_ns: NDArray[np.int64], *, is_open: bool
) -> NDArray[np.int64]:
    """Return the latency of each request, int64 nanoseconds, shape (requests,).

    Closed load: done - sent. Open load: done - scheduled, so that a stalled server cannot hide its queue.
    """
    return np.asarray(done_ns - (scheduled_ns if is_open else sent_ns))


def percentile(values: NDArray[Any], q: float) -> float:
    """Return the `q`-th percentile (0 to 100) of `values` by PERCENTILE_METHOD.

    Raises:
        ValueError: no values, or q outside 0 to 100.
    """
    if len(values) == 0:
        raise ValueError("there is no percentile of nothing")
    return float(np.percentile(values, q, method="linear"))


@functools.cache
def samples_needed(q: float) -> int:
    """Return the fewest samples for which the `q`-th percentile (0 < q < 100) may be quoted.

    The early-stopping rule of MLPerf LoadGen at 99 % confidence: the smallest n for which at most one value
    beyond the true percentile is seen with probability 1 % or less, that is
    share^n + n * (1 - share) * share^(n - 1) <= 0.01. It gives 11, 64, 130, 662 for p50, p90, p95, p99.
    """
    if not 0 < q < 100:  # noqa: PLR2004 - percent
        raise ValueError(f"a percentile lies between 0 and 100, got {q}")
    share = q / 100
    count = 1
    while share**count + count * (1 - share) * share ** (count - 1) > 1 - CONFIDENCE:
        count += 1
    return count


def percentile_interval(values: NDArray[Any], q: float) -> tuple[float, float] | None:
    """Return the interval of the true `q`-th percentile (0 < q < 100) of what `values` were drawn from.

    Distribution-free, from two order statistics: how many of n independent values lie below the true
    percentile is binomial, whatever their distribution (David and Nagaraja 2003, "Order Statistics", third
    edition, section 7.1). Each side errs with at most half of 1 - INTERVAL_CONFIDENCE. None where `values`,
    shape (requests,), are too few to bound it on both sides.
    """
    ranks = _interval_ranks(len(values), q)
    if ranks is None:
        return None
    low, high = np.partition(values, [rank - 1 for rank in ranks])[[rank - 1 for rank in ranks]]
    return float(low), float(high)


@functools.cache
def _interval_ranks(count: int, q: float) -> tuple[int, int] | None:
    """Return the two ranks, from 1, between which the percentile lies; None where one does not exist."""
    error = (1 - INTERVAL_CONFIDENCE) / 2
    low, high = _binomial_quantile(error, count, q / 100), _binomial_quantile(1 - error, count, q / 100) + 1
    return (low, high) if 1 <= low <= high <= count else None


def _binomial_quantile(probability: float, count: int, share: float) -> int:
    """Return the smallest k of which P(binomial(count, share) <= k) >= probability."""
    from scipy.special import bdtr

    deviations = math.sqrt(count * share * (1 - share))
    low = max(0, math.floor(count * share - 4 * deviations) - 2)
    high = min(count, math.ceil(count * share + 4 * deviations) + 2)
    tried = np.arange(low, high + 1)
    return int(tried[np.searchsorted(bdtr(tried, count, share), probability)])


def summarize_latency(successful_ns: NDArray[Any]) -> LatencySummary:
    """Summarize the latencies of successful requests, nanoseconds, shape (requests,)."""
    values = np.asarray(successful_ns, dtype=np.float64) / NS_PER_MS
    count = len(values)
    reasons = {f"p{q}": _too_few(q, count) for q in PERCENTILES if count < samples_needed(q)}
    figures = {f"p{q}": None if f"p{q}" in reasons else percentile(values, q) for q in PERCENTILES}
    intervals = {f"p{q}": None if f"p{q}" in reasons else percentile_interval(values, q) for q in PERCENTILES}
    if count == 0:
        nothing = dict.fromkeys(("min", "max", "mean"), Reason("none_succeeded"))
        return LatencySummary(
            **figures, min=None, max=None, mean=None, reasons=reasons | nothing, intervals=intervals
        )
    return LatencySummary(
        **figures,
        min=float(values.min()),
        max=float(values.max()),
        mean=math.fsum(values) / count,
        reasons=reasons,
        intervals=intervals,
    )


def throughput_per_s(succeeded_count: int, window_s: float) -> float | None:
    """Return successful requests sent in the window per second; None when there was no window."""
    return succeeded_count / window_s if window_s > 0 else None


def ecdf(values: NDArray[Any], points: int = 200) -> tuple[Floats, Floats]:
    """Return points of the empirical distribution of `values`, any order, shape (requests,).

    Returns:
        Distinct values, ascending, and for each the share of all values at or below it; at most `points`
        of each, the smallest and the largest value always among them. Half of the points are evenly spread,
        half lie closer and closer together towards the slow end, where the interesting requests are.

    Raises:
        ValueError: no values, or fewer than two points.
    """
    if len(values) == 0 or points < 2:  # noqa: PLR2004 - both extremes
        raise ValueError("an empirical distribution needs a value and two points")
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    chosen = np.unique(ordered[_ranks(len(ordered), points)])
    return chosen, np.searchsorted(ordered, chosen, side="right") / len(ordered)


def _too_few(q: int, count: int) -> Reason:
    figures = {"percentile": q, "needed_count": samples_needed(q), "succeeded_count": count}
    return Reason("too_few_requests", figures)


def _ranks(count: int, points: int) -> NDArray[np.intp]:
    """Return at most `points` indices into `count` sorted values, the first and the last among them."""
    if count <= points:
        return np.arange(count)
    even = np.linspace(0, count - 1, points // 2)
    tail = count - np.geomspace(1, count, points - points // 2)
    return np.unique(np.rint(np.concatenate([even, tail])).astype(np.intp))

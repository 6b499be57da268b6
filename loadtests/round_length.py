"""How long a round has to be, from how a server's p50 wandered while it was conditioned.

Under closed load a fast server answers in convoys: p50 wanders from one half-second to the next although
throughput does not. The mean of a wandering figure settles with the length of the round over its
autocorrelation time, so a short round measures where the wave was.
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from loadtests.arrivals import NS_PER_S

SLICE_NS: Final = NS_PER_S // 4
FEWEST_SLICES: Final = 20
FEWEST_PER_SLICE: Final = 5

TARGET: Final = 0.05
"""Relative standard error that the p50 of one round shall have by this wandering."""


def round_needed_s(done_ns: NDArray[Any], latency_ns: NDArray[Any]) -> float | None:
    """Return seconds after which the standard error of p50 is `TARGET`; None with too little to tell.

    Args:
        done_ns, latency_ns: of the successful requests of a steady stretch, shape (requests,), nanoseconds.

    The variance of a mean over T seconds tends to S / T, with S the spectral density at zero: slice length
    times the sum of all autocovariances (Priestley 1981, "Spectral analysis and time series", 5.3.2). The sum
    ends where the sum of a neighbouring pair is not positive any more (Geyer 1992, Statistical Science 7(4)).
    """
    medians = _slice_medians(np.asarray(done_ns), np.asarray(latency_ns))
    if len(medians) < FEWEST_SLICES:
        return None
    return _spectral_density_at_zero(np.log(medians)) * SLICE_NS / NS_PER_S / TARGET**2


def _slice_medians(done_ns: NDArray[Any], latency_ns: NDArray[Any]) -> NDArray[Any]:
    """Return the median latency of each whole slice; those with very few requests are left out."""
    if not len(done_ns):
        return np.empty(0)
    places = (done_ns - done_ns.min()) // SLICE_NS
    counts = np.bincount(places)
    whole = [place for place in range(len(counts) - 1) if counts[place] >= FEWEST_PER_SLICE]
    order = np.argsort(places, kind="stable")
    groups = np.split(latency_ns[order], np.cumsum(counts)[:-1])
    return np.array([np.median(groups[place]) for place in whole])


def _spectral_density_at_zero(series: NDArray[Any]) -> float:
    """Return the sum of all autocovariances of evenly spaced values, at least the variance itself."""
    centred = series - series.mean()
    count = len(centred)
    covariances = [float(centred[: count - lag] @ centred[lag:]) / count for lag in range(count // 2)]
    total = covariances[0]
    for odd, even in zip(covariances[1::2], covariances[2::2], strict=False):
        if odd + even <= 0:
            break
        total += 2 * (odd + even)
    return max(total, covariances[0])

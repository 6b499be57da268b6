"""Has a fresh server stopped getting faster? Decided second by second, from throughput and CPU per request.

Agreement of neighbouring windows does not see a slow climb: a Java server that doubles its speed in twenty
seconds looks steady in every one of them. So a server counts as steady when over a stretch of ten seconds or
more both figures are shown not to change: the interval of the change lies within a limit.

A just-in-time compiler that shares a core with the server takes whole seconds of it, long after the speed has
levelled, so a short stretch must be free of such dips too. A server that still dips after half a minute does
so for good, and its longest stretch is judged with them.

Nor may such compilers, where their CPU time can be read, take more than a fiftieth of the server's: its speed
may be level while single answers wait for them, and the slowest answers are what p99 is made of.

It also has to be steady across a pause. What a just-in-time compiler assumed while the same connections were
busy all the time (that none is closed, that nothing times out) is wrong the first time that rounds come and
go: TorchServe then fell from 1,250 to 800 requests a second and compiled for another eight seconds, which a
measurement would have taken for its speed. So servers are loaded in turns, and a stretch that holds no pause
shows nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final, Literal, NamedTuple

from loadtests.trend import FEWEST_POINTS, Trend, trend

STRETCHES_S: Final = (10, 15, 20, 30)
"""Seconds looked back over: the shortest shows a quiet server steady, noise takes a longer one."""

SPAN_S: Final = 10.0
"""The change that is judged is the one over ten seconds, whatever the stretch."""

CHANGE_LIMIT: Final = 0.15
"""As much as rounds that follow one another in one direction may differ (see drift.py)."""

DIP_SHARE: Final = 0.10
"""A second this much slower than the median of its stretch is a dip, if noise does not explain it."""

DIP_SPREADS: Final = 4.0
"""As many robust standard deviations below the median are no noise: 3 in 100,000 seconds of a normal one."""

BIN_LEAST: Final = 10
"""Requests of a second that is judged by itself: one more or less is then 10 % at most. Seconds of slower
servers are judged several together."""

AFTER_PAUSE_S: Final = 3
"""So many seconds after a pause belong to a stretch that shows that the pause changed nothing."""

CPU_SHARE_LEAST: Final = 0.2
"""Below this share of a core the ticks of the kernel's CPU clock, 10 ms, are noise of 5 % and more."""

COMPILERS_SHARE: Final = 0.02
"""Of a server's CPU time: with more, its just-in-time compilers make the slowest of its answers."""

COMPILES_FOR_GOOD_S: Final = 60
"""Seconds of load after which what still compiles is taken for the server's own way."""

State = Literal["steady", "climbing", "unsettled"]


class Second(NamedTuple):
    """One second of load.

    Attributes:
        requests_count: successful requests that ended in it.
        p50_ms: their median latency; None when there were none.
        server_cpu_s: CPU seconds of the server in it; None where nobody could tell.
        resumed: whether the server was paused just before. Such a second is not judged: rounds have a
            warm-up of their own for it.
        compilers_cpu_s: of `server_cpu_s`, that of just-in-time compilers; None where nobody could tell.
    """

    requests_count: int
    p50_ms: float | None
    server_cpu_s: float | None
    resumed: bool = False
    compilers_cpu_s: float | None = None

    @property
    def cpu_s_per_request(self) -> float | None:
        """CPU seconds of the server per successful request; None where one of the two is missing."""
        if not self.requests_count or self.server_cpu_s is None:
            return None
        return self.server_cpu_s / self.requests_count


@dataclass(frozen=True)
class Judgement:
    """What the seconds so far show.

    Attributes:
        state: `steady`: shown not to change; `climbing`: shown to get faster; `unsettled`: neither.
        until_steady_s: where the first steady stretch began, seconds of load; None unless steady.
        throughput, cpu_per_request: changes over ten seconds, of the steady stretch or the shortest one.
    """

    state: State
    until_steady_s: int | None
    throughput: Trend | None
    cpu_per_request: Trend | None


def judge_seconds(seconds: Sequence[Second], *, awaits_compilers: bool = True) -> Judgement:
    """Return whether the server has stopped getting faster, from every second of load since its start.

    A steady stretch holds a pause at least; where it began is said in seconds of all load.

    Args:
        seconds: in order.
        awaits_compilers: whether a server is not steady while just-in-time compilers take its CPU time.
    """
    places = [place for place, second in enumerate(seconds) if not second.resumed]
    judged = [seconds[place] for place in places]
    compiling_belongs = not awaits_compilers or len(judged) >= COMPILES_FOR_GOOD_S
    for length in STRETCHES_S:
        if len(judged) < length:
            break
        start = places[-length]
        if not _spans_a_pause(seconds[start:]):
            continue
        bins = _binned(judged[-length:])
        trends = _trends(bins, length)
        dips_belong = length == STRETCHES_S[-1]
        if (
            _all_within(trends)
            and (dips_belong or not _has_dip(bins))
            and (compiling_belongs or not _compiles(judged[-length:]))
        ):
            return Judgement("steady", _level_from(seconds, places[-length:]), *trends)
    shortest = judged[-STRETCHES_S[0] :]
    latest = _trends(_binned(shortest), len(shortest))
    return Judgement("climbing" if _climbs(latest[0]) else "unsettled", None, *latest)


def _level_from(seconds: Sequence[Second], places: Sequence[int]) -> int:
    """Return where a steady stretch is level: a long one may begin with the end of a climb."""
    least = median(seconds[place].requests_count for place in places) / (1 + CHANGE_LIMIT)
    return next(place for place in places if seconds[place].requests_count >= least)


def _spans_a_pause(stretch: Sequence[Second]) -> bool:
    """Return whether a pause lies in it, and enough load after the pause."""
    pauses = [place for place, second in enumerate(stretch) if second.resumed]
    return bool(pauses) and sum(not second.resumed for second in stretch[pauses[0] :]) >= AFTER_PAUSE_S


def _binned(seconds: Sequence[Second]) -> list[Second]:
    """Put as many neighbouring seconds together as give each of them `BIN_LEAST` requests.

    At least as many are left as a trend needs, whatever they hold; a rest at the beginning is left out.
    """
    size = 1
    while len(seconds) // (size + 1) >= FEWEST_POINTS and min(_counts(_merged(seconds, size))) < BIN_LEAST:
        size += 1
    return _merged(seconds, size)


def _merged(seconds: Sequence[Second], size: int) -> list[Second]:
    if size == 1:
        return list(seconds)
    starts = range(len(seconds) % size, len(seconds), size)
    return [_sum(seconds[start : start + size]) for start in starts]


def _sum(seconds: Sequence[Second]) -> Second:
    """Return several seconds as one; their median latency is not known and not judged."""
    used_s = [second.server_cpu_s for second in seconds if second.server_cpu_s is not None]
    known_s = sum(used_s) if len(used_s) == len(seconds) else None
    return Second(sum(_counts(seconds)), None, known_s)


def _counts(seconds: Sequence[Second]) -> list[int]:
    return [second.requests_count for second in seconds]


def _trends(bins: Sequence[Second], length_s: int) -> tuple[Trend | None, Trend | None]:
    """Return the trends of throughput and of CPU per request; None for what cannot be told."""
    counts = _counts(bins)
    if not counts or not all(counts):
        return None, None
    span = SPAN_S / (length_s // len(bins))
    costs = [cost for cost in (one.cpu_s_per_request for one in bins) if cost]
    return trend(counts, span), trend(costs, span) if _is_telling(bins, costs, length_s) else None


def _is_telling(bins: Sequence[Second], costs: Sequence[float], length_s: int) -> bool:
    """Return whether the CPU clock was read every second and advanced enough to be judged."""
    used_s, bin_s = sum(one.server_cpu_s or 0.0 for one in bins), length_s // len(bins)
    return len(costs) == len(bins) and used_s >= CPU_SHARE_LEAST * len(bins) * bin_s


def _all_within(trends: tuple[Trend | None, Trend | None]) -> bool:
    throughput, cost = trends
    if throughput is None or not throughput.is_within(CHANGE_LIMIT):
        return False
    return cost is None or cost.is_within(CHANGE_LIMIT)


def _has_dip(bins: Sequence[Second]) -> bool:
    """Return whether a bin's throughput lies below the others by more than noise explains.

    The spread is the median absolute deviation, scaled to a normal distribution's standard deviation.
    """
    counts = _counts(bins)
    middle = median(counts)
    spread = 1.4826 * median(abs(count - middle) for count in counts)
    return middle - min(counts) > max(DIP_SHARE * middle, DIP_SPREADS * spread)


def _compiles(seconds: Sequence[Second]) -> bool:
    """Return whether just-in-time compilers took more than their share of the CPU time, where it is known."""
    known = [
        (second.compilers_cpu_s, second.server_cpu_s)
        for second in seconds
        if second.compilers_cpu_s is not None and second.server_cpu_s is not None
    ]
    return sum(used_s for used_s, _ in known) > COMPILERS_SHARE * sum(all_s for _, all_s in known)


def _climbs(throughput: Trend | None) -> bool:
    return throughput is not None and throughput.low > 0

"""What the seconds of load on a fresh server say, in the terms that a report shows."""

from collections.abc import Sequence

from pipelines.record.conditioning import ConditioningRecord, SecondRecord
from pipelines.units import MS_PER_S


def cpu_ms_per_request(second: SecondRecord) -> float | None:
    """Return the server's CPU time per request of a second; None without a request or a reading."""
    if second.server_cpu_s is None or not second.requests_count:
        return None
    return second.server_cpu_s * MS_PER_S / second.requests_count


def steady_second(conditioning: ConditioningRecord) -> int | None:
    """Return the number of the first steady second, from 1; None where none was shown."""
    if conditioning.until_steady_s is None or not conditioning.seconds:
        return None
    return min(int(conditioning.until_steady_s) + 1, len(conditioning.seconds))


def first_rate(conditioning: ConditioningRecord) -> int | None:
    """Return the requests of the first second; None without a whole one."""
    return conditioning.seconds[0].requests_count if conditioning.seconds else None


def steady_rate(conditioning: ConditioningRecord) -> float | None:
    """Return the mean requests per second from the first steady second on; None where none was shown."""
    first = steady_second(conditioning)
    if first is None:
        return None
    counts = [second.requests_count for second in conditioning.seconds[first - 1 :]]
    return sum(counts) / len(counts)


def until_steady_range(conditionings: Sequence[ConditioningRecord]) -> tuple[float, float, int] | None:
    """Return the shortest and longest time until steady, and of how many starts; None where none was."""
    times_s = [each.until_steady_s for each in conditionings if each.until_steady_s is not None]
    return (min(times_s), max(times_s), len(times_s)) if times_s else None

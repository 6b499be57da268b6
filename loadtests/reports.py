"""The generator's reports on stdout while it runs: JSON lines for the process that started it.

`opened` and `closed` are the edges of the measured window, said at that moment, so that a reader can look at
its own clocks then. `second` is one whole second of the window.
"""

import json
import os
import statistics
import sys
from dataclasses import asdict, dataclass
from typing import Literal

from loadtests.arrivals import NS_PER_S
from loadtests.statistics import NS_PER_MS


@dataclass(frozen=True)
class Report:
    """One line.

    Attributes:
        kind: see above.
        requests_count: successful requests that ended in the second; 0 for an edge.
        p50_ms: their median latency; None for an edge, and where there were none.
    """

    kind: Literal["opened", "second", "closed"]
    requests_count: int = 0
    p50_ms: float | None = None

    def say(self) -> None:
        """Write the line; nobody may be there to read it, and the round has its result all the same."""
        try:
            sys.stdout.write(json.dumps(asdict(self)) + "\n")
            sys.stdout.flush()
        except BrokenPipeError:
            # What is left in the buffer would be tried again at the end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def read_report(line: str) -> Report | None:
    """Return what `say` wrote; None for any other line, such as one of a library's."""
    try:
        return Report(**json.loads(line))
    except (ValueError, TypeError):
        return None


class Seconds:
    """Counts the successful requests of every second from `start_ns` on, by when they ended."""

    def __init__(self, start_ns: int) -> None:
        self._end_ns = start_ns + NS_PER_S
        self._latencies_ns: list[int] = []
        self._next_ns: list[int] = []

    def enter(self, done_ns: int, latency_ns: int) -> None:
        """Enter one successful request."""
        (self._latencies_ns if done_ns < self._end_ns else self._next_ns).append(latency_ns)

    def ended(self, now_ns: int) -> list[Report]:
        """Return the seconds that have ended since the last call, the oldest first."""
        reports = []
        while now_ns >= self._end_ns:
            reports.append(self._report())
            self._latencies_ns, self._next_ns = self._next_ns, []
            self._end_ns += NS_PER_S
        return reports

    def _report(self) -> Report:
        latencies_ns = self._latencies_ns
        p50_ms = statistics.median(latencies_ns) / NS_PER_MS if latencies_ns else None
        return Report("second", len(latencies_ns), p50_ms)

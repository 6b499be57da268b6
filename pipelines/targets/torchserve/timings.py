"""Where a request's time went, by TorchServe's and our handler's own report."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from pipelines.http import fetch
from pipelines.targets.prometheus import metric_sum
from pipelines.targets.timings import Timings
from pipelines.units import NS_PER_S, US_PER_S

# In both of its modes of metrics, of every request: waiting for a worker, and all from its arrival on.
QUEUE, WHOLE = "ts_queue_latency_microseconds", "ts_inference_latency_microseconds"
LOGGED = re.compile(rb"(ts_queue_latency|ts_inference_latency)_microseconds\.Microseconds:([0-9.eE+-]+)\|")
HANDLER_PARTS = ("decode", "inference", "encode")
# Of what our handler counts in every worker.
COUNTS = ("handled_count", *(f"{part}_ns" for part in HANDLER_PARTS))


class TorchServeTimings:
    """Asks one server; made anew for every server, as it remembers what was read."""

    def __init__(self, counts: Callable[[], Mapping[str, int]], metrics: str | None, log: Path) -> None:
        """Take a way to get the workers' sums of `COUNTS`, and where the frontend's own counts are.

        `metrics` is the address of the metrics API if it counts, None if `log` has a line per request.
        """
        self._counts, self._metrics, self._log = counts, metrics, log
        self._offset = 0
        self._logged = {b"ts_queue_latency": [0.0, 0], b"ts_inference_latency": [0.0, 0]}

    def __call__(self) -> Timings:
        """Return the totals by now.

        Raises:
            OSError: the server does not answer.
        """
        handled = self._of_handler()
        whole, queue = self._from_page() if self._metrics else self._from_log()
        totals = {**handled, **({"queue": queue} if queue else {})}
        return Timings(totals, whole, "frontend" if queue and len(handled) == len(HANDLER_PARTS) else None)

    def _of_handler(self) -> dict[str, tuple[float, int]]:
        """Return the parts within the handler, of the workers that told."""
        counts = self._counts()
        if not counts:
            return {}
        return {part: (counts[f"{part}_ns"] / NS_PER_S, counts["handled_count"]) for part in HANDLER_PARTS}

    def _from_page(self) -> tuple[tuple[float, int] | None, tuple[float, int] | None]:
        _, body = fetch(f"{self._metrics}/metrics")
        return from_page(body.decode(errors="replace"))

    def _from_log(self) -> tuple[tuple[float, int] | None, tuple[float, int] | None]:
        """Read what was logged since the last read; nothing once the log has begun anew."""
        if not self._log.is_file() or self._log.stat().st_size < self._offset:
            return None, None
        with self._log.open("rb") as file:
            file.seek(self._offset)
            text = file.read()
        end = text.rfind(b"\n") + 1
        self._offset += end
        for name, value in LOGGED.findall(text[:end]):
            self._logged[name][0] += float(value) / US_PER_S
            self._logged[name][1] += 1
        whole, queue = self._logged[b"ts_inference_latency"], self._logged[b"ts_queue_latency"]
        return (float(whole[0]), int(whole[1])), (float(queue[0]), int(queue[1]))


def from_page(text: str) -> tuple[tuple[float, int] | None, tuple[float, int] | None]:
    """Return seconds and count of whole requests, and of waiting, from metrics in Prometheus' text format."""
    count, whole, queue = (metric_sum(text, name) for name in ("ts_inference_requests_total", WHOLE, QUEUE))
    if count is None or whole is None or queue is None:
        return None, None
    return (whole / US_PER_S, int(count)), (queue / US_PER_S, int(count))

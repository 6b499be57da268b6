"""Where a request's time went, by the plain server's own counts."""

from pipelines.targets.prometheus import metric_sum
from pipelines.targets.timings import Timings

WHOLE, PARTS = "plain_server_request_seconds", "plain_server_part_seconds_total"
COUNTED = ("queue", "decode", "inference", "encode")


def from_metrics(text: str) -> Timings:
    """Read totals of all workers from metrics in Prometheus' text format.

    What is left of the whole is FastAPI's: reading the body, the way to a thread and back, and sending the
    answer.
    """
    seconds, count = (metric_sum(text, f"{WHOLE}_{suffix}") for suffix in ("sum", "count"))
    if seconds is None or count is None:
        return Timings({})
    parts = {part: metric_sum(text, PARTS, part=part) for part in COUNTED}
    totals = {part: (own, int(count)) for part, own in parts.items() if own is not None}
    return Timings(totals, (seconds, int(count)), "frontend")

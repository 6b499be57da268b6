"""Where a request's time went, by TensorFlow Serving's metrics; the embedded server's too."""

from pipelines.targets.prometheus import metric_sum
from pipelines.targets.timings import Timings
from pipelines.units import US_PER_S

PREFIX = ":tensorflow:serving:"
WHOLE, RUNTIME, QUEUE = "request_latency", "runtime_latency", "batching_session:queuing_latency"


def from_metrics(text: str) -> Timings:
    """Read totals from metrics in Prometheus' text format.

    `request_latency` is all that the server sees of a request, `runtime_latency` what the model took, waiting
    for its batch included, which `queuing_latency` tells. What is left is reading and writing bodies.
    """
    whole, runtime, queue = (_total(text, name) for name in (WHOLE, RUNTIME, QUEUE))
    if runtime is None:
        return Timings({}, whole)
    if queue is None:
        return Timings({"inference": runtime}, whole, "codec")
    seconds, count = runtime
    totals = {"queue": queue, "inference": (max(0.0, seconds - queue[0]), count)}
    return Timings(totals, whole, "codec")


def _total(text: str, name: str) -> tuple[float, int] | None:
    micros, count = (metric_sum(text, f"{PREFIX}{name}_{suffix}") for suffix in ("sum", "count"))
    return None if micros is None or not count else (micros / US_PER_S, int(count))

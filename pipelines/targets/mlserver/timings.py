"""Where a request's time went, by the metrics of MLServer and of our runtime in it."""

from pipelines.targets.prometheus import metric_sum
from pipelines.targets.timings import Timings

# All of a request, whichever API it came by, and within that all but reading its body and writing its answer.
REST, GRPC = "rest_server_request_duration_seconds", "grpc_server_handling_seconds"
INSIDE = "model_infer_request_duration"
HANDLED, HANDLED_SECONDS = "tandem_handled_total", "tandem_handled_seconds_total"
HANDLER_PARTS = ("decode", "inference", "encode")


def from_metrics(text: str) -> Timings:
    """Read totals from metrics in Prometheus' text format.

    MLServer counts a whole request, and what lies between its body and its answer; without that it is left
    with reading and writing them, which are not told apart, and to which our runtime's decoding and encoding
    are added. What is left in between is the way to the process with the model and back, and waiting.
    """
    whole, inside = _whole(text), _total(text, INSIDE)
    totals = {**_handled(text), "codec": (max(0.0, whole[0] - inside[0]), whole[1])}
    rest = "frontend" if len(totals) > len(HANDLER_PARTS) else None
    return Timings(totals, whole, rest, dict.fromkeys(("decode", "encode"), "codec"))


def _handled(text: str) -> dict[str, tuple[float, int]]:
    """Return what our runtime counted in all workers, once one of them has loaded the model."""
    count = metric_sum(text, HANDLED)
    seconds = {part: metric_sum(text, HANDLED_SECONDS, part=part) for part in HANDLER_PARTS}
    return {part: (own, int(count)) for part, own in seconds.items() if own is not None and count is not None}


def _whole(text: str) -> tuple[float, int]:
    """Return seconds and count of all requests, over REST and gRPC."""
    rest, grpc = _total(text, REST, path=".*/infer"), _total(text, GRPC, grpc_method="ModelInfer")
    return rest[0] + grpc[0], rest[1] + grpc[1]


def _total(text: str, name: str, **patterns: str) -> tuple[float, int]:
    """Return seconds and count; MLServer has no samples of what nobody has asked for yet."""
    seconds, count = (metric_sum(text, f"{name}_{suffix}", **patterns) or 0.0 for suffix in ("sum", "count"))
    return seconds, int(count)

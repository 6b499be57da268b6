"""Where a request's time went, by Triton's own statistics of the model."""

from collections.abc import Mapping
from typing import Any

from pipelines.targets.timings import Timings
from pipelines.units import NS_PER_S

# Its statistics' names; in its metrics they are nv_inference_NAME_duration_us, cut to whole µs a request.
WHOLE, QUEUE, INFERENCE, OUTPUT = "success", "queue", "compute_infer", "compute_output"


def from_stats(answer: Any) -> Timings:
    """Read totals from `GET /v2/models/M/stats`.

    `success` is all from when a request has been read until its answer has been written, `compute_infer` the
    way to the process that holds the model and back, with all that our runtime does. Writing the answer is
    in `compute_output`. What is left is `compute_input`, which hands the tensors over, and little more.
    """
    stats = answer.get("model_stats") if isinstance(answer, dict) else None
    of_model: Mapping[str, Any] = (stats[0].get("inference_stats") if stats else None) or {}
    parts = {"queue": QUEUE, "inference": INFERENCE, "encode": OUTPUT}
    told = {name: (entry["ns"] / NS_PER_S, int(entry["count"])) for name, entry in of_model.items()}
    totals = {part: told[name] for part, name in parts.items() if name in told}
    return Timings(totals, told.get(WHOLE), "frontend" if len(totals) == len(parts) else None)

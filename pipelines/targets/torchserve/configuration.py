"""How a running TorchServe is configured, in its management API's own words."""

import json
from typing import Any

from pipelines.targets.endpoint import Configuration

ASKED = "server"
# GivenRecord's field and the management API's.
TOLD = {
    "workers_max_count": "maxWorkers",
    "batch_max_size": "batchSize",
    "batch_delay_ms": "maxBatchDelay",
    "queue_max_count": "jobQueueSize",
}


def description_path(model: str) -> str:
    """Return the management API's path to a model's configuration, with what its handler adds."""
    return f"/models/{model}?customized=true"


def unready(answer: Any) -> str | None:
    """Return None if every worker in a model's description is READY, else how many are."""
    description = _description(answer)
    listed = description.get("workers")
    workers = [worker for worker in listed if isinstance(worker, dict)] if isinstance(listed, list) else []
    ready = sum(worker.get("status") == "READY" for worker in workers)
    if workers and ready == len(workers) >= int(description.get("minWorkers", 1)):
        return None
    return f"{ready} of {len(workers)} workers are READY"


def from_description(answer: Any) -> Configuration:
    """Return GivenRecord's fields from a model's description, without those it does not tell."""
    description = _description(answer)
    fields = {
        "workers_count": workers_count(answer),
        **{field: description.get(name) for field, name in TOLD.items()},
        **_threads(description.get("customizedMetadata")),
    }
    if fields["queue_max_count"] is None:
        fields["queue_max_count"] = _queue(description.get("jobQueueStatus"))
    known_fields = {name: value for name, value in fields.items() if value is not None}
    return {**known_fields, "sources": dict.fromkeys(known_fields, ASKED)}


def workers_count(answer: Any) -> int | None:
    """Return how many workers are in a model's description; None if it does not tell."""
    workers = _description(answer).get("workers")
    return len(workers) if isinstance(workers, list) else None


def described(answer: Any) -> dict[str, Any]:
    """Return what our handler reports of one worker; empty if it is another's."""
    return _described(_description(answer).get("customizedMetadata"))


def _description(answer: Any) -> dict[str, Any]:
    """Return the description of the one version; empty if there is none."""
    return answer[0] if isinstance(answer, list) and answer and isinstance(answer[0], dict) else {}


def _queue(status: Any) -> int | None:
    """Count the places in the queue, taken and free together."""
    if not isinstance(status, dict) or "remainingCapacity" not in status:
        return None
    return int(status["remainingCapacity"]) + int(status.get("pendingRequests", 0))


def _threads(metadata: Any) -> dict[str, int | None]:
    """Return what our handler reports of its worker; another's handler reports nothing of the kind."""
    described = _described(metadata)
    return {name: described.get(name) for name in ("threads_per_worker", "inter_op_threads_count")}


def _described(metadata: Any) -> dict[str, Any]:
    """Return what a handler adds to its model's description."""
    try:
        parsed = json.loads(metadata) if isinstance(metadata, str) else metadata
    except ValueError:
        parsed = None
    return parsed if isinstance(parsed, dict) else {}

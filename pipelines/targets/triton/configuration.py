"""How a running Triton is configured and what it has done, in its own words."""

from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.targets.endpoint import Configuration
from pipelines.targets.prometheus import samples

ASKED = "server"
# What our runtime says of each of its processes, beside the server's own metrics.
THREADS = "tandem_torch_threads"
PARAMETERS = {"intra": "threads_per_worker", "inter": "inter_op_threads_count"}


def configuration(config: Any, metrics: str) -> Configuration:
    """Return GivenRecord's fields from `GET /v2/models/M/config` and from the metrics of our runtime."""
    answer: Mapping[str, Any] = config if isinstance(config, dict) else {}
    groups: Sequence[Mapping[str, Any]] = answer.get("instance_group") or []
    batcher: Mapping[str, Any] = answer.get("dynamic_batching") or {}
    queue = (batcher.get("default_queue_policy") or {}).get("max_queue_size")
    fields = {
        "workers_count": sum(int(group["count"]) for group in groups) or None,
        # Without a batcher each request is a run of its own, however many rows it may hold.
        "batch_max_size": answer.get("max_batch_size") if batcher else 1,
        "batch_delay_ms": int(batcher.get("max_queue_delay_microseconds", 0)) / 1000 if batcher else None,
        "queue_max_count": queue or None,  # 0: as many as there is memory for
        **_threads(metrics),
    }
    told_fields = {name: value for name, value in fields.items() if value is not None}
    return {**told_fields, "sources": dict.fromkeys(told_fields, ASKED)}


def _threads(metrics: str) -> dict[str, int | None]:
    """Return the threads of the processes that hold the model, where all of them say the same."""
    counts: dict[str, set[int]] = {}
    for labels, value in samples(metrics, THREADS):
        counts.setdefault(labels["kind"], set()).add(int(value))
    return {
        PARAMETERS[kind]: next(iter(values)) if len(values) == 1 else None for kind, values in counts.items()
    }


def batches(answer: Any) -> tuple[int, int]:
    """Return requests answered and runs of the model from `GET /v2/models/M/stats`; (0, 0) if it has none."""
    stats = answer.get("model_stats") if isinstance(answer, dict) else None
    of_model: Mapping[str, Any] = stats[0] if stats else {}
    answered = ((of_model.get("inference_stats") or {}).get("success") or {}).get("count", 0)
    return int(answered), int(of_model.get("execution_count", 0))

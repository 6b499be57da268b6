"""The folder that Triton serves models from, and what a running Triton says of one of them."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from models.spec import ModelSpec, TensorSpec
from pipelines.errors import RequestError
from pipelines.targets.endpoint import Configuration

if TYPE_CHECKING:
    from pipelines.targets.triton.settings import TritonSettings

ASKED = "server"
# Its config.pbtxt has names of its own for the protocol's datatypes, BOOL and INT8 to FP64.
TYPES = {
    "bool": "TYPE_BOOL",
    **{f"{kind}{bits}": f"TYPE_{kind.upper()}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)},
    **{f"float{bits}": f"TYPE_FP{bits}" for bits in (16, 32, 64)},
}
# What our runtime says of each of its processes, beside the server's own metrics.
THREADS = re.compile(
    r'^tandem_torch_threads\{[^}]*kind="(?P<kind>intra|inter)"[^}]*\} (?P<count>\d+)', re.MULTILINE
)
PARAMETERS = {"intra": "threads_per_worker", "inter": "inter_op_threads_count"}


def config(spec: ModelSpec, settings: "TritonSettings", script: str) -> str:
    """The model's config.pbtxt.

    Raises:
        RequestError: batching was asked for, and a tensor of the model is one number per row.
    """
    batched = settings.max_batch_size is not None
    if batched:
        _require_sizes(spec)
    parameters = {
        "script": script,
        **{
            name: str(getattr(settings, name))
            for name in ("torch_threads", "torch_interop_threads")
            if getattr(settings, name) is not None
        },
    }
    lines = [
        f"name: {json.dumps(spec.name)}",
        'backend: "python"',
        f"max_batch_size: {settings.max_batch_size or 0}",
        *(_tensor("input", tensor, batched=batched) for tensor in spec.inputs),
        *(_tensor("output", tensor, batched=batched) for tensor in spec.outputs),
        f"instance_group [ {{ kind: KIND_CPU count: {settings.instance_count or 1} }} ]",
        *_batcher(settings),
        *(
            f"parameters {{ key: {json.dumps(key)} value {{ string_value: {json.dumps(value)} }} }}"
            for key, value in parameters.items()
        ),
    ]
    return "".join(f"{line}\n" for line in lines)


def _require_sizes(spec: ModelSpec) -> None:
    for tensor in (*spec.inputs, *spec.outputs):
        if len(tensor.shape) == 1:
            raise RequestError(
                f"triton cannot batch {spec.name}: {tensor.name!r} is one number per row, for which its "
                "batching has no shape; leave max_batch_size and dynamic_batching out of the preset"
            )


def _tensor(kind: str, tensor: TensorSpec, *, batched: bool) -> str:
    # With batching on, the first size is the server's own.
    sizes = ", ".join("-1" if size is None else str(size) for size in tensor.shape[1 if batched else 0 :])
    name = json.dumps(tensor.name)
    return f"{kind} [ {{ name: {name} data_type: {TYPES[tensor.dtype]} dims: [ {sizes} ] }} ]"


def _batcher(settings: "TritonSettings") -> list[str]:
    if not settings.dynamic_batching:
        return []
    preferred = ", ".join(map(str, settings.preferred_batch_size or ()))
    parts = [
        f"preferred_batch_size: [ {preferred} ]" if preferred else "",
        f"max_queue_delay_microseconds: {settings.max_queue_delay_microseconds or 0}",
        f"default_queue_policy {{ max_queue_size: {settings.max_queue_size} }}"
        if settings.max_queue_size
        else "",
    ]
    return [f"dynamic_batching {{ {' '.join(filter(None, parts))} }}"]


def configuration(told: Any, metrics: str) -> Configuration:
    """GivenRecord's fields from `GET /v2/models/M/config` and from the metrics of our runtime."""
    answer: Mapping[str, Any] = told if isinstance(told, dict) else {}
    groups: Sequence[Mapping[str, Any]] = answer.get("instance_group") or []
    batcher: Mapping[str, Any] = answer.get("dynamic_batching") or {}
    queue = (batcher.get("default_queue_policy") or {}).get("max_queue_size")
    known = {
        "workers_count": sum(int(group["count"]) for group in groups) or None,
        # Without a batcher each request is a run of its own, however many rows it may hold.
        "batch_max_size": answer.get("max_batch_size") if batcher else 1,
        "batch_delay_ms": int(batcher.get("max_queue_delay_microseconds", 0)) / 1000 if batcher else None,
        "queue_max_count": queue or None,  # 0: as many as there is memory for
        **_threads(metrics),
    }
    told_fields = {name: value for name, value in known.items() if value is not None}
    return {**told_fields, "sources": dict.fromkeys(told_fields, ASKED)}


def _threads(metrics: str) -> dict[str, int | None]:
    """Threads of the processes that hold the model, where all of them say the same."""
    counts: dict[str, set[int]] = {}
    for found in THREADS.finditer(metrics):
        counts.setdefault(found["kind"], set()).add(int(found["count"]))
    return {
        PARAMETERS[kind]: next(iter(values)) if len(values) == 1 else None for kind, values in counts.items()
    }


def batches(told: Any) -> tuple[int, int]:
    """Requests answered and runs of the model, from `GET /v2/models/M/stats`; (0, 0) where it tells none."""
    stats = told.get("model_stats") if isinstance(told, dict) else None
    one: Mapping[str, Any] = stats[0] if stats else {}
    answered = ((one.get("inference_stats") or {}).get("success") or {}).get("count", 0)
    return int(answered), int(one.get("execution_count", 0))

"""Triton's settings, by the names of its command line and of a model's config.pbtxt."""

import json
from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from models.spec import ModelSpec, TensorSpec
from pipelines.errors import RequestError
from pipelines.targets.presets import ServerSettings

Count = Annotated[int, Field(ge=1, le=2**31 - 1)]
Instances = Annotated[int, Field(ge=1, le=1024)]
# Of config.pbtxt's `dynamic_batching`.
BATCHER = ("max_queue_delay_microseconds", "max_queue_size", "preferred_batch_size")
# Its config.pbtxt has names of its own for the protocol's datatypes, BOOL and INT8 to FP64.
TYPES = {
    "bool": "TYPE_BOOL",
    **{f"{kind}{bits}": f"TYPE_{kind.upper()}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)},
    **{f"float{bits}": f"TYPE_FP{bits}" for bits in (16, 32, 64)},
}
# Where an image has the artifact.
CONTAINER_MODELS = "/models"
FLAGS = ("allow_cpu_metrics", "http_thread_count")


class TritonSettings(ServerSettings):
    """What a preset may set: Triton's own, and the threads of our runtime in it.

    `instance_count` is the `count` of its `instance_group`: processes that each hold the model.
    """

    batching_settings: ClassVar[tuple[str, ...]] = ("dynamic_batching", "max_batch_size", *BATCHER)
    allow_cpu_metrics: bool | None = None
    dynamic_batching: bool | None = None
    http_thread_count: Instances | None = None
    instance_count: Instances | None = None
    max_batch_size: Count | None = None
    max_queue_delay_microseconds: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = None
    max_queue_size: Count | None = None
    preferred_batch_size: Annotated[tuple[Count, ...], Field(strict=False, min_length=1)] | None = None
    torch_interop_threads: Count | None = None
    torch_threads: Count | None = None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        """Raise unless the batcher's settings come with the batcher, and it has room for two rows."""
        setting = next((name for name in BATCHER if getattr(self, name) is not None), None)
        if setting and not self.dynamic_batching:
            raise PydanticCustomError("batching", f"{setting} needs dynamic_batching = true")
        if self.dynamic_batching and (self.max_batch_size or 0) < 2:  # noqa: PLR2004 - a batch is two rows
            raise PydanticCustomError("batching", "dynamic_batching needs max_batch_size, of 2 or more")
        largest = max(self.preferred_batch_size or (0,))
        if largest > (self.max_batch_size or 0):
            raise PydanticCustomError("batching", "a preferred_batch_size is above max_batch_size")
        return self

    @classmethod
    def batches(cls, spec: ModelSpec) -> bool:
        """Return whether the server's batching has a shape for every tensor: none of one number per row."""
        return all(len(tensor.shape) > 1 for tensor in (*spec.inputs, *spec.outputs))

    @property
    def most_rows(self) -> int | None:
        """How many rows a request may have."""
        return self.max_batch_size

    def flags(self) -> list[str]:
        """Return the flags of the command line."""
        settings = self.given()
        return [
            f"--{name.replace('_', '-')}={str(settings[name]).lower()}" for name in FLAGS if name in settings
        ]

    def files(self, spec: ModelSpec) -> dict[str, str]:
        """Write the flags, one a line, and the model's configuration.

        Raises:
            RequestError: batching was asked for a model that cannot be batched.
        """
        return {
            "flags": "".join(f"{flag}\n" for flag in self.flags()),
            "config.pbtxt": config(spec, self, f"{CONTAINER_MODELS}/{spec.name}.pt"),
        }


def config(spec: ModelSpec, settings: TritonSettings, script: str) -> str:
    """Write the model's config.pbtxt.

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


def _batcher(settings: TritonSettings) -> list[str]:
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

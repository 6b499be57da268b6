"""Triton's settings, by the names of its command line and of a model's config.pbtxt."""

from typing import Annotated, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from models.spec import ModelSpec
from pipelines.targets.presets import ServerSettings
from pipelines.targets.triton.repository import config

Count = Annotated[int, Field(ge=1, le=2**31 - 1)]
Instances = Annotated[int, Field(ge=1, le=1024)]
# Of config.pbtxt's `dynamic_batching`.
BATCHER = ("max_queue_delay_microseconds", "max_queue_size", "preferred_batch_size")
# Where an image has the artifact.
CONTAINER_MODELS = "/models"
FLAGS = ("allow_cpu_metrics", "http_thread_count")


class TritonSettings(ServerSettings):
    """What a preset may set: Triton's own, and the threads of our runtime in it.

    `instance_count` is the `count` of its `instance_group`: processes that each hold the model.
    """

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
        """What is of the batcher needs the batcher, which needs room for two rows."""
        asked = next((name for name in BATCHER if getattr(self, name) is not None), None)
        if asked and not self.dynamic_batching:
            raise PydanticCustomError("batching", f"{asked} needs dynamic_batching = true")
        if self.dynamic_batching and (self.max_batch_size or 0) < 2:  # noqa: PLR2004 - a batch is two rows
            raise PydanticCustomError("batching", "dynamic_batching needs max_batch_size, of 2 or more")
        largest = max(self.preferred_batch_size or (0,))
        if largest > (self.max_batch_size or 0):
            raise PydanticCustomError("batching", "a preferred_batch_size is above max_batch_size")
        return self

    def flags(self) -> list[str]:
        """Those of the command line."""
        given = self.given()
        return [f"--{name.replace('_', '-')}={str(given[name]).lower()}" for name in FLAGS if name in given]

    def files(self, spec: ModelSpec) -> dict[str, str]:
        """The flags, one a line, and the model's configuration.

        Raises:
            RequestError: batching was asked for a model that cannot be batched.
        """
        return {
            "flags": "".join(f"{flag}\n" for flag in self.flags()),
            "config.pbtxt": config(spec, self, f"{CONTAINER_MODELS}/{spec.name}.pt"),
        }

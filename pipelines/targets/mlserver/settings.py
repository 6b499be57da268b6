"""MLServer's settings, by the names of its settings.json and model-settings.json."""

import json
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from models.spec import ModelSpec
from pipelines.errors import RequestError
from pipelines.targets.endpoint import Configuration
from pipelines.targets.presets import ServerSettings

LARGEST_MESSAGE_BYTES = 2**31 - 1
Count = Annotated[int, Field(ge=1, le=2**31 - 1)]
# Of the one model there is, as clients may name it.
VERSION = "1"
# Where an image has the artifact.
CONTAINER_MODELS = "/models"


class MLServerSettings(ServerSettings):
    """What a preset may set: MLServer's own, and `torch_threads` of our runtime in it.

    `max_batch_time_ms` is MLServer's `max_batch_time`, which is in seconds.
    """

    batching_settings: ClassVar[tuple[str, ...]] = ("max_batch_size", "max_batch_time_ms")
    debug: bool | None = None
    gzip_enabled: bool | None = None
    max_batch_size: Count | None = None
    max_batch_time_ms: Count | None = None
    parallel_workers: Annotated[int, Field(ge=0, le=1024)] | None = None
    torch_threads: Count | None = None

    @model_validator(mode="after")
    def _both_of_batching_or_neither(self) -> Self:
        """Raise where one is missing: MLServer would then batch nothing."""
        missing = [name for name in self.batching_settings if getattr(self, name) is None]
        if len(missing) == 1:
            raise PydanticCustomError("batching", f"batching needs {missing[0]} as well")
        return self

    @classmethod
    def batches(cls, spec: ModelSpec) -> bool:
        """Return whether all samples have one shape: MLServer gives all requests of a batch the first's."""
        return all(None not in tensor.shape[1:] for tensor in spec.inputs)

    def server(self) -> dict[str, Any]:
        """Return the settings of settings.json; a message over gRPC may be of any size, as a body may."""
        own = ("debug", "gzip_enabled", "parallel_workers")
        given = {name: value for name, value in self.given().items() if name in own}
        return {"grpc_max_message_length": LARGEST_MESSAGE_BYTES, **given}

    def model(self, spec: ModelSpec, uri: str) -> dict[str, Any]:
        """Return the whole of model-settings.json.

        Raises:
            RequestError: batching was asked for a model whose samples differ in shape.
        """
        if (self.max_batch_size or 0) > 1 and not self.batches(spec):
            raise RequestError(
                f"mlserver cannot batch {spec.name}, whose samples may differ in shape: it would mix up "
                "their rows; leave max_batch_size and max_batch_time_ms out of the preset"
            )
        content: dict[str, Any] = {"name": spec.name, "implementation": "model.TorchScript"}
        if self.max_batch_size is not None:
            content["max_batch_size"] = self.max_batch_size
        if self.max_batch_time_ms is not None:
            content["max_batch_time"] = self.max_batch_time_ms / 1000
        extra = {"torch_threads": self.torch_threads} if self.torch_threads else {}
        return {**content, "parameters": {"uri": uri, "version": VERSION, "extra": extra}}

    def files(self, spec: ModelSpec) -> dict[str, str]:
        """Return both files; the image decides where the server listens."""
        contents = {
            "settings.json": self.server(),
            "model-settings.json": self.model(spec, f"{CONTAINER_MODELS}/{spec.name}.pt"),
        }
        return {name: json.dumps(content, indent=2) for name, content in contents.items()}

    @classmethod
    def read(cls, server: Mapping[str, Any], model: Mapping[str, Any]) -> Self:
        """Read the settings that decide how requests are processed from those files."""
        seconds = model.get("max_batch_time")
        return cls(
            parallel_workers=server.get("parallel_workers"),
            max_batch_size=model.get("max_batch_size"),
            max_batch_time_ms=None if seconds is None else round(seconds * 1000),
        )


def configuration(parameters: Mapping[str, Any], settings: MLServerSettings) -> Configuration:
    """Return GivenRecord's fields, from the running model's parameters and MLServer's settings."""
    reported = {
        "threads_per_worker": parameters.get("torch_threads"),
        "inter_op_threads_count": parameters.get("torch_interop_threads"),
    }
    started = {
        # 0 means that the model runs in the server's own process.
        "workers_count": max(1, settings.parallel_workers if settings.parallel_workers is not None else 1),
        "batch_max_size": settings.max_batch_size or 1,
        "batch_delay_ms": settings.max_batch_time_ms,
    }
    rules = {
        "workers_count": settings.parallel_workers is None,
        "batch_max_size": not settings.max_batch_size,
    }
    fields = {name: value for name, value in (reported | started).items() if value is not None}
    sources = {
        name: "server" if name in reported else ("rule" if rules.get(name) else "flag") for name in fields
    }
    return {**fields, "sources": sources}

"""MLServer's settings, by the names of its settings.json and model-settings.json."""

from typing import Annotated, Any

from pydantic import Field

from models.spec import ModelSpec
from pipelines.targets.presets import ServerSettings

Count = Annotated[int, Field(ge=1, le=2**31 - 1)]
# Of the one model there is, as clients may name it.
VERSION = "1"


class MLServerSettings(ServerSettings):
    """What a preset may set: MLServer's own, and `torch_threads` of our runtime in it.

    `max_batch_time_ms` is MLServer's `max_batch_time`, which is in seconds.
    """

    debug: bool | None = None
    gzip_enabled: bool | None = None
    max_batch_size: Count | None = None
    max_batch_time_ms: Count | None = None
    parallel_workers: Annotated[int, Field(ge=0, le=1024)] | None = None
    torch_threads: Count | None = None

    def server(self) -> dict[str, Any]:
        """Those of settings.json."""
        own = ("debug", "gzip_enabled", "parallel_workers")
        return {name: value for name, value in self.given().items() if name in own}

    def model(self, spec: ModelSpec, uri: str) -> dict[str, Any]:
        """The whole of model-settings.json."""
        found: dict[str, Any] = {"name": spec.name, "implementation": "model.TorchScript"}
        if self.max_batch_size is not None:
            found["max_batch_size"] = self.max_batch_size
        if self.max_batch_time_ms is not None:
            found["max_batch_time"] = self.max_batch_time_ms / 1000
        extra = {"torch_threads": self.torch_threads} if self.torch_threads else {}
        return {**found, "parameters": {"uri": uri, "version": VERSION, "extra": extra}}

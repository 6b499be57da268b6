"""A TensorFlow model server's settings, by the names of its flags."""

from typing import Annotated

from pydantic import Field

from models.spec import ModelSpec
from pipelines.targets.presets import ServerSettings

Count = Annotated[int, Field(ge=1, le=2**31 - 1)]


class TFServingSettings(ServerSettings):
    """What a preset may set: the flags that `tensorflow_model_server` and the embedded server both take."""

    enable_model_warmup: bool | None = None
    grpc_max_threads: Count | None = None
    rest_api_num_threads: Count | None = None
    rest_api_timeout_in_ms: Count | None = None
    tensorflow_inter_op_parallelism: Count | None = None
    tensorflow_intra_op_parallelism: Count | None = None

    def flags(self) -> list[str]:
        """The flags, those of the vendor's defaults left out."""
        return [f"--{name}={str(value).lower()}" for name, value in self.given().items()]

    def files(self, spec: ModelSpec) -> dict[str, str]:  # noqa: ARG002 - nothing depends on the model
        """The flags, one a line."""
        return {"flags": "".join(f"{flag}\n" for flag in self.flags())}

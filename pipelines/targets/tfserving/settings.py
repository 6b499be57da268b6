"""A TensorFlow model server's settings, by the names of its flags."""

from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from models.spec import ModelSpec
from pipelines.targets.presets import ServerSettings
from pipelines.targets.tfserving.export import WARMUP_BATCHES

BATCHING = "batching"
CONTAINER_FOLDER = "/etc/tandem/server"
DEFAULT_BATCH = 1000
# Of the file of batching parameters; everything else is a flag.
PARAMETERS = (
    "allowed_batch_sizes",
    "batch_timeout_micros",
    "max_batch_size",
    "max_enqueued_batches",
    "num_batch_threads",
    "pad_variable_length_inputs",
)
Count = Annotated[int, Field(ge=1, le=2**31 - 1)]


class TFServingSettings(ServerSettings):
    """What a preset may set: the flags that `tensorflow_model_server` and the embedded server both take."""

    batching_settings: ClassVar[tuple[str, ...]] = ("enable_batching", *PARAMETERS)
    allowed_batch_sizes: tuple[Count, ...] | None = Field(default=None, strict=False)
    batch_timeout_micros: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = None
    enable_batching: bool | None = None
    enable_model_warmup: bool | None = None
    grpc_max_threads: Count | None = None
    max_batch_size: Count | None = None
    max_enqueued_batches: Count | None = None
    num_batch_threads: Count | None = None
    pad_variable_length_inputs: bool | None = None
    rest_api_num_threads: Count | None = None
    rest_api_timeout_in_ms: Count | None = None
    tensorflow_inter_op_parallelism: Count | None = None
    tensorflow_intra_op_parallelism: Count | None = None

    @model_validator(mode="after")
    def _batching_is_on_or_unset(self) -> Self:
        name = next((name for name in PARAMETERS if getattr(self, name) is not None), None)
        if name and not self.enable_batching:
            raise PydanticCustomError("batching", "{name} needs enable_batching = true", {"name": name})
        sizes, largest = self.allowed_batch_sizes, self.max_batch_size or DEFAULT_BATCH
        if sizes and (list(sizes) != sorted(set(sizes)) or sizes[-1] != largest):
            raise PydanticCustomError(
                "batching",
                "allowed_batch_sizes must increase, and the last must be max_batch_size, {largest}",
                {"largest": largest},
            )
        return self

    @classmethod
    def batches(cls, spec: ModelSpec) -> bool:
        """Return whether all samples have one shape: padding others may change their answers."""
        return all(None not in tensor.shape[1:] for tensor in spec.inputs)

    @property
    def most_rows(self) -> int | None:
        """How many rows a request may have: those of a batch, where there are batches."""
        return (self.max_batch_size or DEFAULT_BATCH) if self.enable_batching else None

    def implied(self) -> dict[str, bool]:
        """Return the flags that nobody set and that what is set needs.

        The server gives up a version of which a warm-up record has more rows than a batch holds.
        """
        too_small = self.most_rows is not None and self.most_rows < max(WARMUP_BATCHES)
        return {"enable_model_warmup": False} if too_small and self.enable_model_warmup is None else {}

    def flags(self, folder: str = CONTAINER_FOLDER) -> list[str]:
        """Return the flags without those at the vendor's defaults; other files of `files` are in `folder`."""
        given = {**self.given(), **self.implied()}
        own = {name: value for name, value in given.items() if name not in PARAMETERS}
        batching = [f"--batching_parameters_file={folder}/{BATCHING}"] if self.enable_batching else []
        return [*(f"--{name}={str(value).lower()}" for name, value in own.items()), *batching]

    def batching(self) -> str:
        """Return BatchingParameters in text format."""
        parameters = {name: value for name, value in self.given().items() if name in PARAMETERS}
        return "".join(f"{_parameter(name, value)}\n" for name, value in parameters.items())

    def files(self, spec: ModelSpec) -> dict[str, str]:  # noqa: ARG002 - nothing depends on the model
        """Write the flags, one a line, and the parameters of batching if it is on."""
        flags = {"flags": "".join(f"{flag}\n" for flag in self.flags())}
        return flags | ({BATCHING: self.batching()} if self.enable_batching else {})


def _parameter(name: str, value: object) -> str:
    if isinstance(value, bool):
        return f"{name}: {str(value).lower()}"
    if isinstance(value, tuple):
        return f"{name}: [{', '.join(map(str, value))}]"
    return f"{name} {{ value: {value} }}"

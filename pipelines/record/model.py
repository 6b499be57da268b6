"""The trained model, as run.json holds it."""

from pipelines.record.base import Record


class TensorRecord(Record):
    """One named input or output; the batch dimension is null."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]


class ModelRecord(Record):
    """The one trained model that all targets serve."""

    name: str
    digest: str
    checkpoint_sha256: str
    parameters_count: int
    inputs: tuple[TensorRecord, ...]
    outputs: tuple[TensorRecord, ...]
    samples_count: int
    accuracy: float | None

"""What the runtime module of a target that runs in process offers, beside `predict`.

Such a target's `runtime.py` has:
    predict(artifact, artifact_format, inputs, outputs) -> answers       as every target
    open_model(artifact, artifact_format, threads_count, outputs) -> InProcessModel
    inspect(artifact, artifact_format) -> Inspection
    runtime_library(artifact_format) -> RuntimeLibrary
Here `outputs` are the names of the model's outputs in order, for formats that know positions only.
"""

from dataclasses import dataclass
from typing import Protocol

from models.tensors import Sample


class InProcessModel(Protocol):
    """A loaded artifact. Only `invoke` is timed, not the conversion to and from the file's own dtype."""

    def set_inputs(self, sample: Sample) -> None:
        """Hand over one sample without its batch dimension, quantised here if the file wants that."""

    def invoke(self) -> None:
        """Compute the outputs of the inputs that were set, batch 1."""

    def outputs(self) -> Sample:
        """Return the outputs of the last `invoke`, without the batch dimension, dequantised if need be."""


@dataclass(frozen=True)
class Inspection:
    """What is inside an artifact; None where the format does not say.

    Attributes:
        parameters_count: weights and biases stored in the file.
        ops_count: operations of the graph as the file holds it, the delegated ones counted one by one.
        delegated_ops_count: how many of those the delegate takes over; 0 when there is no delegate.
        delegate: its name, such as "XNNPACK".
    """

    parameters_count: int | None
    ops_count: int | None
    delegated_ops_count: int | None
    delegate: str | None


@dataclass(frozen=True)
class RuntimeLibrary:
    """The library an artifact needs beside itself: the installed package's own binary on this host.

    `source` says which file or files of which package were counted, in words a reader can check.
    """

    name: str
    version: str
    size_bytes: int
    source: str

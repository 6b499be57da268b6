"""Outputs, timing and contents of an ONNX file, from the file alone, through ONNX Runtime on the CPU."""

from importlib import metadata
from importlib.util import find_spec
from math import prod
from pathlib import Path
from platform import machine
from typing import Any

import numpy as np

from models.spec import FloatArray
from pipelines.errors import GateError, MachineError, first_line
from pipelines.targets.in_process import InProcessModel, Inspection, RuntimeLibrary

PACKAGE = "onnxruntime"
PROVIDER = "CPUExecutionProvider"
ERRORS_ONLY = 3


def predict(artifact: Path, artifact_format: str, inputs: FloatArray) -> FloatArray:  # noqa: ARG001
    """Outputs (n, …) for inputs (n, …), as one batch.

    Raises:
        GateError: the file cannot be loaded, or does not take such inputs.
    """
    return OnnxModel(artifact, threads_count=1).compute(inputs)


def open_model(artifact: Path, artifact_format: str, threads_count: int) -> InProcessModel:  # noqa: ARG001
    """The artifact, loaded and optimised, each operator computed by up to `threads_count` threads.

    Raises:
        GateError: the file cannot be loaded.
    """
    return OnnxModel(artifact, threads_count)


class OnnxModel:
    """An `InProcessModel` on ONNX Runtime."""

    def __init__(self, artifact: Path, threads_count: int) -> None:
        self._artifact = artifact
        self._session = _session(artifact, threads_count)
        self._name = self._session.get_inputs()[0].name
        self._input: dict[str, FloatArray] = {}
        self._outputs: list[FloatArray] = []

    def compute(self, inputs: FloatArray) -> FloatArray:
        """Outputs (n, …) for inputs (n, …).

        Raises:
            GateError: the file does not take such inputs.
        """
        from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidArgument, RuntimeException

        try:
            outputs: FloatArray = self._session.run(None, {self._name: inputs})[0]
        except (Fail, InvalidArgument, RuntimeException) as error:
            raise GateError(f"{self._artifact} refuses its input: {first_line(error)}") from error
        return outputs

    def set_input(self, sample: FloatArray) -> None:
        """Hand over one float32 sample without its batch dimension."""
        self._input = {self._name: np.ascontiguousarray(sample[None])}

    def invoke(self) -> None:
        """Compute the outputs of the input that was set."""
        self._outputs = self._session.run(None, self._input)

    def output(self) -> FloatArray:
        """The float32 output of the last `invoke`, without its batch dimension."""
        values: FloatArray = self._outputs[0][0]
        return values


def _session(artifact: Path, threads_count: int) -> Any:
    import onnxruntime as ort
    from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidGraph, InvalidProtobuf, NoSuchFile

    ort.disable_telemetry_events()
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads_count
    options.inter_op_num_threads = 1
    options.log_severity_level = ERRORS_ONLY
    try:
        return ort.InferenceSession(str(artifact), options, providers=[PROVIDER])
    except (Fail, InvalidGraph, InvalidProtobuf, NoSuchFile) as error:
        raise GateError(f"{artifact} does not load as ONNX: {first_line(error)}") from error


def inspect(artifact: Path, artifact_format: str) -> Inspection:  # noqa: ARG001
    """Nodes that compute, and the elements of initialisers, as the file holds them; lone numbers left out.

    Raises:
        GateError: the file cannot be read.
    """
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        graph = onnx.load(artifact).graph
    except (DecodeError, OSError) as error:
        raise GateError(f"{artifact} does not load as ONNX: {first_line(error)}") from error
    return Inspection(
        parameters_count=sum(prod(tensor.dims) for tensor in graph.initializer if tensor.dims),
        ops_count=sum(node.op_type != "Constant" for node in graph.node),
        delegated_ops_count=0,
        delegate=None,
    )


def runtime_library(artifact_format: str) -> RuntimeLibrary:  # noqa: ARG001 - one for all formats
    """ONNX Runtime as the package installed it here: one library with every CPU operator and the binding.

    Raises:
        MachineError: the package is not installed, or its library is called something else.
    """
    found = find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise MachineError(f"{PACKAGE} is not installed; run `make setup`")
    files = sorted((Path(found.origin).parent / "capi").glob("onnxruntime_pybind11_state*.so"))
    if not files:
        raise MachineError(f"{PACKAGE} has no onnxruntime_pybind11_state*.so; run `make setup`")
    version = metadata.version(PACKAGE)
    return RuntimeLibrary(
        name="ONNX Runtime",
        version=version,
        size_bytes=files[0].stat().st_size,
        source=f"capi/{files[0].name} of the package {PACKAGE} {version}, Python build for {machine()}",
    )

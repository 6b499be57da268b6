"""Outputs, timing and contents of an ONNX file, from the file alone, through ONNX Runtime on the CPU."""

from collections.abc import Sequence
from importlib import metadata
from importlib.util import find_spec
from math import prod
from pathlib import Path
from platform import machine
from typing import Any

from models.tensors import Array, Sample, Tensors
from pipelines.errors import GateError, MachineError, first_line
from pipelines.targets.asking import ask_in_batches, ask_one_by_one, contiguous, matched
from pipelines.targets.in_process import InProcessModel, Inspection, RuntimeLibrary

PACKAGE = "onnxruntime"
PROVIDER = "CPUExecutionProvider"
ERRORS_ONLY = 3


def predict(
    artifact: Path,
    artifact_format: str,  # noqa: ARG001
    inputs: Tensors,
    outputs: Sequence[str],
) -> dict[str, Array]:
    """Answer inputs (n, …) with outputs (n, …); one by one if the file was made for a batch of one.

    Raises:
        GateError: the file cannot be loaded, or has other inputs or outputs.
    """
    model = OnnxModel(artifact, 1, outputs)
    if model.takes_one:
        return ask_one_by_one(model, inputs)
    return ask_in_batches(artifact, model.compute, inputs)


def open_model(
    artifact: Path,
    artifact_format: str,  # noqa: ARG001
    threads_count: int,
    outputs: Sequence[str],
) -> InProcessModel:
    """Load and optimise the artifact, with up to `threads_count` threads for each operator.

    Raises:
        GateError: the file cannot be loaded, or has other outputs.
    """
    return OnnxModel(artifact, threads_count, outputs)


class OnnxModel:
    """An `InProcessModel` on ONNX Runtime."""

    def __init__(self, artifact: Path, threads_count: int, outputs: Sequence[str]) -> None:
        self._artifact = artifact
        self._session = _session(artifact, threads_count)
        self._inputs_there = {tensor.name: tensor for tensor in self._session.get_inputs()}
        outputs_there = {tensor.name: tensor for tensor in self._session.get_outputs()}
        self._wanted = matched(artifact, "output", outputs, outputs_there)
        self._fetches = list(self._wanted.values())
        self._given: dict[str, Array] = {}
        self._answers: list[Array] = []
        self._refusals = _refusals()

    @property
    def takes_one(self) -> bool:
        """Whether the file fixes the batch of an input to one."""
        return any(tensor.shape and tensor.shape[0] == 1 for tensor in self._inputs_there.values())

    def compute(self, batch: Tensors) -> dict[str, Array]:
        """Answer inputs (n, …) of one shape with outputs (n, …).

        Raises:
            GateError: the file does not take such inputs.
        """
        return dict(zip(self._wanted, self._run(self._feed(batch)), strict=True))

    def _run(self, inputs: Tensors) -> list[Array]:
        try:
            answers: list[Array] = self._session.run(self._fetches, inputs)
        except self._refusals as error:
            raise GateError(f"{self._artifact} refuses its inputs: {first_line(error)}") from error
        return answers

    def _feed(self, batch: Tensors) -> dict[str, Array]:
        wanted = matched(self._artifact, "input", list(batch), self._inputs_there)
        return {wanted[name]: array for name, array in batch.items()}

    def set_inputs(self, sample: Sample) -> None:
        """Hand over one sample without its batch dimension.

        Raises:
            GateError: the file has other inputs.
        """
        self._given = self._feed(contiguous(sample))

    def invoke(self) -> None:
        """Compute the outputs of the inputs that were set.

        Raises:
            GateError: the file does not take such inputs.
        """
        self._answers = self._run(self._given)

    def outputs(self) -> Sample:
        """Return the outputs of the last `invoke`, without the batch dimension."""
        return {name: values[0] for name, values in zip(self._wanted, self._answers, strict=True)}


def _session(artifact: Path, threads_count: int) -> Any:
    import onnxruntime as ort

    ort.disable_telemetry_events()
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads_count
    options.inter_op_num_threads = 1
    options.log_severity_level = ERRORS_ONLY
    try:
        return ort.InferenceSession(str(artifact), options, providers=[PROVIDER])
    except _refusals() as error:
        raise GateError(f"{artifact} does not load as ONNX: {first_line(error)}") from error


def _refusals() -> tuple[type[Exception], ...]:
    """Return what ONNX Runtime raises about a file or its inputs; its errors have no class in common."""
    from onnxruntime.capi import onnxruntime_pybind11_state as errors

    return (
        *(errors.Fail, errors.InvalidArgument, errors.InvalidGraph, errors.InvalidProtobuf),
        *(errors.NoSuchFile, errors.NotImplemented, errors.RuntimeException),
    )


def inspect(artifact: Path, artifact_format: str) -> Inspection:  # noqa: ARG001
    """Count nodes that compute, and elements of initialisers, as the file holds them; no lone numbers.

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
    """Describe the installed ONNX Runtime: one library with every CPU operator and the binding.

    Raises:
        MachineError: the package is not installed, or its library is called something else.
    """
    package_spec = find_spec(PACKAGE)
    if package_spec is None or package_spec.origin is None:
        raise MachineError(f"{PACKAGE} is not installed; run `make setup`")
    files = sorted((Path(package_spec.origin).parent / "capi").glob("onnxruntime_pybind11_state*.so"))
    if not files:
        raise MachineError(f"{PACKAGE} has no onnxruntime_pybind11_state*.so; run `make setup`")
    version = metadata.version(PACKAGE)
    return RuntimeLibrary(
        name="ONNX Runtime",
        version=version,
        size_bytes=files[0].stat().st_size,
        source=f"capi/{files[0].name} of the package {PACKAGE} {version}, Python build for {machine()}",
    )

"""Outputs, timing and contents of a TensorFlow Lite flatbuffer, from the file alone, through LiteRT."""

from collections.abc import Mapping, Sequence
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from platform import machine
from typing import Any

import numpy as np
import numpy.typing as npt

from models.spec import FloatArray
from pipelines.errors import GateError, MachineError, first_line
from pipelines.targets.in_process import InProcessModel, Inspection, RuntimeLibrary

PACKAGE = "ai-edge-litert"
# What the interpreter is linked to in the package: the binding and the library behind it. libLiteRt.so, which
# the package loads beside them for accelerators, is not needed by it.
LIBRARIES = ("_pywrap_litert_interpreter_wrapper.so", "libpywrap_litert_common.so")
# LiteRT's only default delegate on a CPU; the interpreter calls its node just DELEGATE.
DEFAULT_DELEGATE = "XNNPACK"
DELEGATE_NODE = "DELEGATE"


def predict(artifact: Path, artifact_format: str, inputs: FloatArray) -> FloatArray:
    """Float32 outputs (n, …) for inputs (n, …), whatever the precision, one at a time as a device would.

    Raises:
        GateError: the file cannot be loaded, or does not take such inputs.
    """
    model = open_model(artifact, artifact_format, threads_count=1)
    outputs = []
    for sample in inputs:
        model.set_input(sample)
        model.invoke()
        outputs.append(model.output())
    return np.stack(outputs)


def open_model(artifact: Path, artifact_format: str, threads_count: int) -> InProcessModel:  # noqa: ARG001
    """The artifact, loaded with its tensors allocated and its delegate applied.

    Raises:
        GateError: the file cannot be loaded.
    """
    return LiteRtModel(artifact, _interpreter(artifact, threads_count))


def _interpreter(artifact: Path, threads_count: int, *, delegates: bool = True) -> Any:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    resolver = OpResolverType.AUTO if delegates else OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    try:
        interpreter = Interpreter(
            model_path=str(artifact), num_threads=threads_count, experimental_op_resolver_type=resolver
        )
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise GateError(f"{artifact} does not load as TensorFlow Lite: {first_line(error)}") from error
    return interpreter


class LiteRtModel:
    """An `InProcessModel` on LiteRT's interpreter."""

    def __init__(self, artifact: Path, interpreter: Any) -> None:
        self._artifact = artifact
        self._interpreter = interpreter
        self._source = interpreter.get_input_details()[0]
        self._sink = interpreter.get_output_details()[0]

    def set_input(self, sample: FloatArray) -> None:
        """Hand over one sample without its batch dimension, quantised if the file takes integers.

        Raises:
            GateError: the file's input has another shape.
        """
        wanted = tuple(self._source["shape"].tolist()[1:])
        if sample.shape != wanted:
            raise GateError(f"{self._artifact} takes samples of shape {wanted}, given {sample.shape}")
        self._interpreter.set_tensor(self._source["index"], quantise(sample[None], self._source))

    def invoke(self) -> None:
        """Compute the outputs of the input that was set."""
        self._interpreter.invoke()

    def output(self) -> FloatArray:
        """The float32 output of the last `invoke` without its batch dimension, dequantised if need be."""
        values: FloatArray = dequantise(self._interpreter.get_tensor(self._sink["index"]), self._sink)[0]
        return values


def quantise(values: FloatArray, tensor: Mapping[str, Any]) -> npt.NDArray[Any]:
    """`values` as the dtype of `tensor` (its `dtype` and `quantization`: scale, zero point).

    Integers are rounded, half to even, and clipped to the dtype's range: a pixel beyond what was calibrated
    becomes the nearest that can be said.
    """
    dtype = tensor["dtype"]
    if dtype == np.float32:
        return values
    scale, zero_point = tensor["quantization"]
    limits = np.iinfo(dtype)
    steps = np.rint(values.astype(np.float64) / scale) + zero_point
    quantised: npt.NDArray[Any] = np.clip(steps, limits.min, limits.max).astype(dtype)
    return quantised


def dequantise(values: npt.NDArray[Any], tensor: Mapping[str, Any]) -> FloatArray:
    """The float32 values that the integers of `tensor` stand for; floats as they are."""
    if tensor["dtype"] == np.float32:
        return values
    scale, zero_point = tensor["quantization"]
    steps = values.astype(np.float64) - zero_point
    return np.asarray(steps * scale, np.float32)


def inspect(artifact: Path, artifact_format: str) -> Inspection:  # noqa: ARG001
    """What the file holds and what LiteRT's delegate takes of it, seen from a really loaded interpreter.

    Parameters are the elements of constant tensors that are floating point or quantised, each buffer once:
    weights, biases and factors that stayed apart. Constants of plain integers are shapes, axes and paddings.

    Raises:
        GateError: the file cannot be loaded.
    """
    plain = _interpreter(artifact, 1, delegates=False)._get_ops_details()
    delegated = delegated_operations(_interpreter(artifact, 1)._get_ops_details())
    return Inspection(
        parameters_count=_parameters_count(artifact.read_bytes()),
        ops_count=len(plain),
        delegated_ops_count=len(delegated),
        delegate=DEFAULT_DELEGATE if delegated else None,
    )


def delegated_operations(nodes: Sequence[Mapping[str, Any]]) -> set[int]:
    """Positions of the nodes that a delegate node stands for.

    LiteRT keeps the replaced nodes in its list and appends the delegate's; the replaced ones are those that
    compute its outputs from its inputs.
    """
    delegates = [node for node in nodes if node["op_name"] == DELEGATE_NODE]
    makers = {
        int(tensor): position
        for position, node in enumerate(nodes)
        if node["op_name"] != DELEGATE_NODE
        for tensor in node["outputs"]
    }
    found: set[int] = set()
    for delegate in delegates:
        given = {int(tensor) for tensor in delegate["inputs"]}
        wanted = [int(tensor) for tensor in delegate["outputs"]]
        while wanted:
            tensor = wanted.pop()
            position = makers.get(tensor)
            if tensor not in given and position is not None and position not in found:
                found.add(position)
                wanted += [int(number) for number in nodes[position]["inputs"]]
    return found


def _parameters_count(content: bytes) -> int:
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(content, 0))
    floating = (schema.TensorType.FLOAT32, schema.TensorType.FLOAT16)
    counts = {
        tensor.buffer: int(np.prod(() if tensor.shape is None else tensor.shape))
        for graph in model.subgraphs
        for tensor in graph.tensors
        if model.buffers[tensor.buffer].data is not None
        and (tensor.type in floating or (tensor.quantization and tensor.quantization.scale is not None))
    }
    return sum(counts.values())


def runtime_library(artifact_format: str) -> RuntimeLibrary:  # noqa: ARG001 - one for all formats
    """LiteRT's interpreter with its built-in operations and XNNPACK, as the package installed it here.

    Raises:
        MachineError: the package is not installed, or its files are called something else.
    """
    found = find_spec("ai_edge_litert")
    if found is None or found.origin is None:
        raise MachineError(f"{PACKAGE} is not installed; run `make setup`")
    files = [Path(found.origin).parent / name for name in LIBRARIES]
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise MachineError(f"{PACKAGE} has no {', '.join(missing)} in {files[0].parent}; run `make setup`")
    version = metadata.version(PACKAGE)
    return RuntimeLibrary(
        name="LiteRT",
        version=version,
        size_bytes=sum(file.stat().st_size for file in files),
        source=f"{' and '.join(LIBRARIES)} of the installed package {PACKAGE} {version} ({machine()})",
    )

"""Outputs, timing and contents of a TensorFlow Lite flatbuffer, from the file alone, through LiteRT."""

from collections.abc import Mapping, Sequence
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from platform import machine
from typing import Any

import numpy as np

from models.tensors import Array, Sample, Tensors, fits
from pipelines.errors import GateError, MachineError, first_line
from pipelines.targets.asking import ask_one_by_one, matched
from pipelines.targets.in_process import InProcessModel, Inspection, RuntimeLibrary

PACKAGE = "ai-edge-litert"
# What the interpreter is linked to in the package: the binding and the library behind it. libLiteRt.so, which
# the package loads beside them for accelerators, is not needed by it.
LIBRARIES = ("_pywrap_litert_interpreter_wrapper.so", "libpywrap_litert_common.so")
# LiteRT's only default delegate on a CPU; the interpreter calls its node just DELEGATE.
DEFAULT_DELEGATE = "XNNPACK"
DELEGATE_NODE = "DELEGATE"


def predict(
    artifact: Path, artifact_format: str, inputs: Tensors, outputs: Sequence[str]
) -> dict[str, Array]:
    """Answer inputs (n, …) with outputs (n, …), in any precision, one at a time as a device would.

    Raises:
        GateError: the file cannot be loaded, or has other inputs or outputs.
    """
    return ask_one_by_one(open_model(artifact, artifact_format, 1, outputs), inputs)


def open_model(
    artifact: Path,
    artifact_format: str,  # noqa: ARG001
    threads_count: int,
    outputs: Sequence[str],
) -> InProcessModel:
    """Load the artifact with its tensors allocated and its delegate applied.

    Raises:
        GateError: the file cannot be loaded, or has other outputs.
    """
    return LiteRtModel(artifact, _interpreter(artifact, threads_count), outputs)


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

    def __init__(self, artifact: Path, interpreter: Any, outputs: Sequence[str]) -> None:
        self._artifact = artifact
        self._interpreter = interpreter
        self._sources = by_name(interpreter, "input")
        self._shapes = {name: tuple(map(int, source["shape"][1:])) for name, source in self._sources.items()}
        sinks = by_name(interpreter, "output")
        self._sinks = {name: sinks[own] for name, own in matched(artifact, "output", outputs, sinks).items()}

    def set_inputs(self, sample: Sample) -> None:
        """Hand over one sample without its batch dimension, quantised if the file takes integers.

        Raises:
            GateError: the file has other inputs, of other shapes or dtypes.
        """
        wanted = matched(self._artifact, "input", list(sample), self._sources)
        inputs = {own: sample[name] for name, own in wanted.items()}
        self._resize(inputs)
        for name, array in inputs.items():
            try:
                values = quantise(array[None], self._sources[name])
            except TypeError as error:
                raise GateError(f"{self._artifact} {error} for its input {name!r}") from error
            self._interpreter.set_tensor(self._sources[name]["index"], values)

    def _resize(self, sample: Sample) -> None:
        """Allocate for a sample whose dynamic dimensions are not those of the one before."""
        changed = {name: array.shape for name, array in sample.items() if array.shape != self._shapes[name]}
        for name, shape in changed.items():
            source = self._sources[name]
            dynamic = [None if size < 0 else int(size) for size in source["shape_signature"][1:]]
            if not fits(shape, dynamic):
                raise GateError(
                    f"{self._artifact} takes samples of shape {self._shapes[name]}, given {shape}"
                )
            self._interpreter.resize_tensor_input(source["index"], (1, *shape))
        if not changed:
            return
        try:
            self._interpreter.allocate_tensors()
        except (RuntimeError, ValueError) as error:
            raise GateError(f"{self._artifact} refuses its inputs: {first_line(error)}") from error
        self._shapes |= changed

    def invoke(self) -> None:
        """Compute the outputs of the inputs that were set."""
        self._interpreter.invoke()

    def outputs(self) -> Sample:
        """Return the outputs of the last `invoke`, without the batch dimension, dequantised if need be."""
        return {
            name: dequantise(self._interpreter.get_tensor(sink["index"]), sink)[0]
            for name, sink in self._sinks.items()
        }


def by_name(interpreter: Any, what: str) -> dict[str, dict[str, Any]]:
    """Return inputs or outputs (`what`) by the names of the first signature; without one, the tensors'."""
    tensors = getattr(interpreter, f"get_{what}_details")()
    signatures = interpreter.get_signature_list()
    if not signatures:
        return {tensor["name"]: tensor for tensor in tensors}
    runner = interpreter.get_signature_runner(next(iter(signatures)))
    return dict(getattr(runner, f"get_{what}_details")())


def quantise(values: Array, tensor: Mapping[str, Any]) -> Array:
    """Convert `values` to the dtype of `tensor` (its `dtype` and `quantization`: scale, zero point).

    Where the file's own numbers stand for others (scale above 0), they are rounded, half to even, and clipped
    to the dtype's range: a pixel beyond what was calibrated becomes the nearest value that the dtype has.
    Where they stand for themselves, as pixels, tokens and floats do, they are passed on as they are.

    Raises:
        TypeError: the file wants another kind of number, and does not say what it stands for.
    """
    dtype = np.dtype(tensor["dtype"])
    scale, zero_point = tensor["quantization"]
    if scale == 0:
        if values.dtype != dtype and not np.can_cast(values.dtype, dtype, "same_kind"):
            raise TypeError(f"takes {dtype}, given {values.dtype}")
        return values.astype(dtype, copy=False)
    limits = np.iinfo(dtype)
    steps = np.rint(values.astype(np.float64) / scale) + zero_point
    return np.clip(steps, limits.min, limits.max).astype(dtype)  # type: ignore[no-any-return]


def dequantise(values: Array, tensor: Mapping[str, Any]) -> Array:
    """Return the float32 values that integers of `tensor` stand for; integers without a scale as they are."""
    scale, zero_point = tensor["quantization"]
    if scale == 0:
        return values
    steps = values.astype(np.float64) - zero_point
    return np.asarray(steps * scale, np.float32)


def inspect(artifact: Path, artifact_format: str) -> Inspection:  # noqa: ARG001
    """Inspect what the file holds and what LiteRT's delegate takes of it, in a loaded interpreter.

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
    """Return the positions of the nodes that a delegate node stands for.

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
    positions: set[int] = set()
    for delegate in delegates:
        inputs = {int(tensor) for tensor in delegate["inputs"]}
        wanted = [int(tensor) for tensor in delegate["outputs"]]
        while wanted:
            tensor = wanted.pop()
            position = makers.get(tensor)
            if tensor not in inputs and position is not None and position not in positions:
                positions.add(position)
                wanted += [int(number) for number in nodes[position]["inputs"]]
    return positions


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
    """Describe the installed LiteRT interpreter with its built-in operations and XNNPACK.

    Raises:
        MachineError: the package is not installed, or its files are called something else.
    """
    package_spec = find_spec("ai_edge_litert")
    if package_spec is None or package_spec.origin is None:
        raise MachineError(f"{PACKAGE} is not installed; run `make setup`")
    files = [Path(package_spec.origin).parent / name for name in LIBRARIES]
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

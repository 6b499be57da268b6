"""What a file says of the model in it: names, dtypes and shapes of its tensors, and what it computes in.

Run in processes of their own, one per framework. What a file does not say is None: TorchScript has neither
shapes nor dtypes.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from math import prod
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from models.given import GivenFile, Kind, load_program
from models.signature import DTYPES, TensorSpec, tensors
from pipelines.errors import GateError, first_line
from pipelines.imported.saved_model import FLOAT32, LEAST_WEIGHTS, Read, Tensor, read_saved_model
from pipelines.targets.torchserve.archive import signature_in, unpack

if TYPE_CHECKING:
    import torch

FRAMEWORKS: dict[Kind, str] = {
    "torchscript": "torch",
    "mar": "torch",
    "pt2": "torch",
    "onnx": "torch",
    "saved_model": "tensorflow",
    "tflite": "tensorflow",
}
FLOAT16, DYNAMIC, INT8, INT16X8 = "float16", "dynamic-int8", "int8", "int16x8"


def read_here(progress: Callable[[str], None], files: Mapping[Kind, Path]) -> dict[Kind, Read]:
    """Read what each file says; a framework's files in one process.

    Raises:
        GateError: one cannot be read.
    """
    by_kind: dict[Kind, Read] = {}
    for kind, path in files.items():
        progress(f"reading {kind}")
        try:
            by_kind[kind] = READERS[kind](path)
        except GateError:
            raise
        except Exception as error:
            raise GateError(
                f"the {kind} cannot be read: {type(error).__name__}: {first_line(error)}"
            ) from error
    return by_kind


def _program(path: Path) -> Read:
    """Read a TorchScript file: the names of its inputs."""
    script: Any = load_program(path.parent, program_file("torchscript", path))
    state = list(script.state_dict().values()) or constants(script)
    names = [
        argument.name for argument in script.forward.schema.arguments[1:] if not argument.has_default_value()
    ]
    return Read(
        tuple(Tensor(name, None, None) for name in names),
        None,
        _precision_of_torch(state),
        sum(tensor.numel() for tensor in state if tensor.is_floating_point()),
    )


def _archive(path: Path) -> Read:
    """Read an archive's program, and what our own handler says of its tensors, where it is the archive's."""
    with TemporaryDirectory(prefix="tandem-mar-") as folder:
        manifest = unpack(path, Path(folder))
        read = _program(Path(folder) / manifest["model"]["serializedFile"])
        signature = signature_in(Path(folder), manifest)
    if signature is None:
        return read
    inputs, outputs = (_of_signature(what, signature[what]) for what in ("inputs", "outputs"))
    return replace(read, inputs=inputs, outputs=outputs)


def _of_signature(what: str, entries: Iterable[Mapping[str, Any]]) -> tuple[Tensor, ...]:
    """Return the tensors of an archive's signature; raise ModelError if no model has such ones."""
    declared = [TensorSpec(entry["name"], entry["dtype"], (None, *entry["shape"])) for entry in entries]
    return tuple(Tensor(one.name, one.dtype, one.shape) for one in tensors("the archive", what, declared))


def program_file(kind: Kind, path: Path) -> GivenFile:
    """Describe a program's file as `load_program` takes it."""
    return GivenFile(kind, path.name, "", "", 0, "", {}, {})


def constants(script: Any) -> "list[torch.Tensor]":
    """Return the weights of a frozen program, which are constants of its graph."""
    graph = script.inlined_graph  # which its nodes do not keep alive
    nodes = graph.findAllNodes("prim::Constant", recurse=True)
    kinds = [node for node in nodes if node.hasAttributes() and node.kindOf("value") == "t"]
    return [tensor for node in kinds if (tensor := node.t("value")).numel() >= LEAST_WEIGHTS]


def _precision_of_torch(state: "Iterable[torch.Tensor]") -> str:
    import torch

    counts: Counter[torch.dtype] = Counter()
    for tensor in state:
        counts[tensor.dtype] += tensor.numel()
    most = counts.most_common(1)
    if any(dtype in counts for dtype in (torch.qint8, torch.quint8)):
        return INT8
    return FLOAT16 if most and most[0][0] in (torch.float16, torch.bfloat16) else FLOAT32


def _exported(path: Path) -> Read:
    """Read an exported program, which says everything."""
    import torch

    program = torch.export.load(path)
    values = {node.name: node.meta.get("val") for node in program.graph.nodes}
    signature, spec = program.graph_signature, program.call_spec.out_spec
    keys = list(spec.context) if spec is not None and spec.type is dict else []
    outputs = signature.user_outputs
    names = keys if len(keys) == len(outputs) else [f"output_{n}" for n in range(len(outputs))]
    return Read(
        tuple(_of_value(str(name), values[str(name)]) for name in signature.user_inputs),
        tuple(_of_value(name, values[str(output)]) for name, output in zip(names, outputs, strict=True)),
        _precision_of_torch(program.state_dict.values()),
        sum(tensor.numel() for tensor in program.state_dict.values() if tensor.is_floating_point()),
    )


def _of_value(name: str, value: Any) -> Tensor:
    sizes = tuple(size if isinstance(size, int) else None for size in value.shape)
    return Tensor(name, str(value.dtype).removeprefix("torch."), sizes)


def _onnx(path: Path) -> Read:
    """Read an ONNX file; raise GateError if it is none, or keeps weights in other files."""
    import onnx

    model = onnx.load(path, load_external_data=False)
    graph = model.graph
    # Also of what is inside nodes and functions: a place may lead anywhere on this disk.
    outside = [tensor for tensor in _tensors(model) if tensor.data_location == onnx.TensorProto.EXTERNAL]
    if outside:
        where = {entry.key: entry.value for entry in outside[0].external_data}.get("location", "?")
        raise GateError(
            f"the onnx keeps its weights in another file ({where!r:.80}); save it as one file "
            "(onnx.save_model(model, path, save_as_external_data=False))"
        )
    weights = {weight.name for weight in graph.initializer}
    return Read(
        tuple(_of_onnx(tensor) for tensor in graph.input if tensor.name not in weights),
        tuple(map(_of_onnx, graph.output)),
        _precision_of_onnx(graph),
        sum(prod(weight.dims) for weight in graph.initializer if weight.dims),
    )


def _tensors(message: Any) -> Iterator[Any]:
    """Yield every tensor in a protobuf, however deep."""
    import onnx

    if isinstance(message, onnx.TensorProto):
        yield message
        return
    for field, value in message.ListFields():
        if field.message_type is not None:
            for part in value if field.is_repeated else [value]:
                yield from _tensors(part)


def _of_onnx(value: Any) -> Tensor:
    import onnx

    kind = value.type.tensor_type
    dims = kind.shape.dim if kind.HasField("shape") else None
    sizes = (
        None if dims is None else tuple(dim.dim_value if dim.HasField("dim_value") else None for dim in dims)
    )
    dtype = onnx.TensorProto.DataType.Name(kind.elem_type).lower()
    return Tensor(value.name, {"float": "float32", "double": "float64"}.get(dtype, dtype), sizes)


def _precision_of_onnx(graph: Any) -> str:
    import onnx

    kinds = {node.op_type for node in graph.node}
    if kinds & {"QLinearConv", "QLinearMatMul", "QuantizeLinear", "ConvInteger", "MatMulInteger"}:
        return DYNAMIC if kinds & {"DynamicQuantizeLinear", "ConvInteger"} else INT8
    types = {weight.data_type for weight in graph.initializer if prod(weight.dims) >= LEAST_WEIGHTS}
    halves = {onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16}
    return FLOAT16 if types & halves and onnx.TensorProto.FLOAT not in types else FLOAT32


def _tflite(path: Path) -> Read:
    from ai_edge_litert.interpreter import Interpreter

    from pipelines.targets.tflite import flatbuffer
    from pipelines.targets.tflite.runtime import by_name, inspect

    interpreter = Interpreter(model_path=str(path))
    inputs, outputs = (by_name(interpreter, what) for what in ("input", "output"))
    return Read(
        tuple(_of_lite(name, detail) for name, detail in inputs.items()),
        tuple(_of_lite(name, detail) for name, detail in outputs.items()),
        _precision_of_lite(flatbuffer.read(path.read_bytes())),
        inspect(path, "tflite").parameters_count or 0,
    )


def _of_lite(name: str, detail: Mapping[str, Any]) -> Tensor:
    """Describe a tensor; quantised numbers stand for float32 ones, and are asked with these."""
    import numpy as np

    sizes = detail["shape_signature"] if len(detail["shape_signature"]) else detail["shape"]
    dtype = FLOAT32 if detail["quantization"][0] else np.dtype(detail["dtype"]).name
    return Tensor(name, dtype, tuple(None if size < 0 else int(size) for size in sizes))


def _precision_of_lite(model: Any) -> str:
    from ai_edge_litert import schema_py_generated as schema

    kinds = schema.TensorType
    constant: Counter[int] = Counter()
    computed: set[int] = set()
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            data = model.buffers[tensor.buffer].data
            if data is None or not len(data):
                computed.add(tensor.type)
            elif (
                tensor.quantization is not None and tensor.quantization.scale is not None
            ) or tensor.type in (kinds.FLOAT32, kinds.FLOAT16):
                constant[tensor.type] += len(data)
    most = constant.most_common(1)
    weights = most[0][0] if most else kinds.FLOAT32
    if weights in (kinds.INT8, kinds.UINT8, kinds.INT4):
        if kinds.INT16 in computed:
            return INT16X8
        return INT8 if kinds.INT8 in computed or kinds.UINT8 in computed else DYNAMIC
    return FLOAT16 if weights == kinds.FLOAT16 else FLOAT32


READERS: dict[str, Callable[[Path], Read]] = {
    "torchscript": _program,
    "mar": _archive,
    "pt2": _exported,
    "onnx": _onnx,
    "tflite": _tflite,
    "saved_model": read_saved_model,
}


def is_known(dtype: str | None) -> bool:
    """Return whether a tensor of that dtype can be asked and answered here."""
    return dtype is None or dtype in DTYPES

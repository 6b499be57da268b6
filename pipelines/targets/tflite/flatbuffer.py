"""The TensorFlow Lite flatbuffer as an object: read it, take out what no runtime reads, pack it tightly.

Nothing a runtime computes with is touched, and every precision goes through the same: on a small model the
names and repeated tables that a converter leaves behind would weigh as much as the saved bits.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import flatbuffers  # type: ignore[import-untyped]
import numpy as np
import numpy.typing as npt

IDENTIFIER = b"TFL3"
# How the schema wants the data of every buffer aligned, in bytes.
BUFFER_ALIGNMENT = 16
# The converter's own settings and version; runtimes do not read it, and the manifest has the toolchain.
CONVERSION_METADATA = b"CONVERSION_METADATA"


class SharingBuilder(flatbuffers.Builder):  # type: ignore[misc]
    """Writes vectors of equal content once: weights and biases repeat each other's zero points, for one."""

    def __init__(self) -> None:
        super().__init__(1024)
        self._written: dict[tuple[str, bytes], int] = {}

    def CreateNumpyVector(self, x: npt.NDArray[Any]) -> int:  # noqa: N802 - the name is the library's
        """Return the offset of the vector `x`, written now or before."""
        key = (x.dtype.str, x.tobytes())
        if key not in self._written:
            if x.dtype == np.uint8:
                self.Prep(BUFFER_ALIGNMENT, x.nbytes)
            self._written[key] = super().CreateNumpyVector(x)
        return self._written[key]


def read(content: bytes) -> Any:
    """Read the flatbuffer as the schema's object `ModelT`; its arrays are views into `content`."""
    from ai_edge_litert import schema_py_generated as schema

    return schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(content, 0))


def pack(model: Any) -> bytes:
    """Write a `ModelT` as bytes, buffers aligned as the schema asks."""
    builder = SharingBuilder()
    builder.Finish(model.Pack(builder), file_identifier=IDENTIFIER)
    return bytes(builder.Output())


def slim(model: Any) -> tuple[list[str], list[str]]:
    """Keep the model's own tensor names and drop what only the converter used: names, settings, buffers.

    Returns:
        The names of inputs and of outputs in the file's order, which need not be the model's.
    """
    model.metadata = [entry for entry in model.metadata or [] if entry.name != CONVERSION_METADATA]
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            tensor.name = None
    main, signature = model.subgraphs[0], model.signatureDefs[0]
    for entry in (*signature.inputs, *signature.outputs):
        main.tensors[entry.tensorIndex].name = _text(entry.name)
    _drop_unused_buffers(model)
    by_place = {entry.tensorIndex: _text(entry.name) for entry in (*signature.inputs, *signature.outputs)}
    return [by_place[number] for number in main.inputs], [by_place[number] for number in main.outputs]


def rename(model: Any, inputs: Sequence[str], outputs: Sequence[str]) -> None:
    """Give the first signature's tensors, `args_0`, `output_0` and so on, the names of that place."""
    signature = model.signatureDefs[0]
    for entries, names in ((signature.inputs, inputs), (signature.outputs, outputs)):
        for entry in entries:
            entry.name = names[int(_text(entry.name).rpartition("_")[2])]


def rename_all(model: Any, inputs: Mapping[str, str], outputs: Mapping[str, str]) -> None:
    """Give the tensors of the first signature, or of a file without one, other names, by their own."""
    main, signatures = model.subgraphs[0], model.signatureDefs or []
    for numbers, entries, names in (
        (main.inputs, signatures[0].inputs if signatures else [], inputs),
        (main.outputs, signatures[0].outputs if signatures else [], outputs),
    ):
        for entry in entries:
            entry.name = names[_text(entry.name)]
        if not signatures:
            for number in numbers:
                main.tensors[number].name = names[_text(main.tensors[number].name)]


def _text(name: bytes | str) -> str:
    return name.decode() if isinstance(name, bytes) else name


def _drop_unused_buffers(model: Any) -> None:
    holders = [tensor for graph in model.subgraphs for tensor in graph.tensors] + model.metadata
    # Buffer 0 is empty by definition: tensors without constant data point to it.
    used = sorted({0, *(holder.buffer for holder in holders)})
    numbers = {old: new for new, old in enumerate(used)}
    for holder in holders:
        holder.buffer = numbers[holder.buffer]
    model.buffers = [model.buffers[old] for old in used]


def add_metadata(model: Any, name: str, content: bytes) -> None:
    """Store `content` in a buffer of its own, to be found under `name`."""
    from ai_edge_litert import schema_py_generated as schema

    entry, buffer = schema.MetadataT(), schema.BufferT()
    buffer.data = np.frombuffer(content, np.uint8)
    entry.name, entry.buffer = name, len(model.buffers)
    model.buffers.append(buffer)
    model.metadata.append(entry)


def floating_operations(model: Any) -> list[str]:
    """Name the operations that compute in floating point, each once, sorted, without conversions.

    A cast of an input, as of pixels, is one: what follows is quantised from it.
    """
    from ai_edge_litert import schema_py_generated as schema

    floating = {schema.TensorType.FLOAT32, schema.TensorType.FLOAT16, schema.TensorType.FLOAT64}
    names = {value: name for name, value in vars(schema.BuiltinOperator).items() if name.isupper()}
    operations = {
        (
            names[model.operatorCodes[operator.opcodeIndex].builtinCode],
            set(operator.inputs) <= set(graph.inputs),
        )
        for graph in model.subgraphs
        for operator in graph.operators
        if any(graph.tensors[number].type in floating for number in (*operator.inputs, *operator.outputs))
    }
    converting = {
        ("CAST", True),
        *((name, at) for name in ("QUANTIZE", "DEQUANTIZE") for at in (True, False)),
    }
    return sorted({name for name, _ in operations - converting})

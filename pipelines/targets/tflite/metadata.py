"""TensorFlow Lite metadata: what the tensors mean, inside the file, where phones' tools look for it.

A `ModelMetadata` flatbuffer (metadata_schema.fbs of TensorFlow Lite Support, schema 1.x) goes into a buffer
of the model called TFLITE_METADATA, and the label file into a zip archive after it. Runtimes skip both.
The numbers of fields and union members below are that schema's.
"""

import io
import zipfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flatbuffers  # type: ignore[import-untyped]
import numpy as np

from models.labels import column_names
from models.spec import ModelSpec, TensorSpec, columns
from models.tensors import Array, is_ragged

BUFFER_NAME = "TFLITE_METADATA"
IDENTIFIER = b"M001"
LABELS_NAME = "labels.txt"
# The oldest parser that understands every field written here.
MIN_PARSER_VERSION = "1.0.0"
# Dtypes of numbers that a caller could have to scale first.
SCALED = ("float16", "float32", "float64", "uint8")
# Our models take raw values: their scaling is part of the graph, so a caller has nothing to normalise.
MEAN, STD = 0.0, 1.0

TENSOR_AXIS_LABELS = 2
IMAGE_PROPERTIES, FEATURE_PROPERTIES = 2, 1
NORMALIZATION_OPTIONS = 1
COLOR_SPACES = {3: 1, 1: 2}  # channels: RGB, GRAYSCALE
IMAGE_RANK = 4

# Writes one field, given the builder and the field's number.
Field = Callable[[Any, int], None]


def describe(spec: ModelSpec, precision: str, inputs: Sequence[str], outputs: Sequence[str]) -> bytes:
    """Write `spec` as a `ModelMetadata` flatbuffer, tensors in the file's order, ranges from the examples."""
    builder = flatbuffers.Builder(1024)
    tensors = {tensor.name: tensor for tensor in spec.inputs}
    examples = spec.examples().named
    sources = [_source(builder, tensors[name], examples[name]) for name in inputs]
    sinks = [_sink(builder, spec, name) for name in outputs]
    graph = _table(builder, {2: _vector(builder, sources), 3: _vector(builder, sinks)})
    model = _table(
        builder,
        {
            0: _text(builder, spec.name),
            1: _text(builder, f"{precision}, model digest {spec.digest}"),
            3: _vector(builder, [graph]),
            7: _text(builder, MIN_PARSER_VERSION),
        },
    )
    builder.Finish(model, file_identifier=IDENTIFIER)
    return bytes(builder.Output())


def _source(builder: Any, tensor: TensorSpec, examples: Array) -> int:
    """Write an input: its name, what it holds, its scaling and its range."""
    flat = [np.asarray(example) for example in examples] if is_ragged(examples) else [examples]
    largest, smallest = (
        max(float(example.max()) for example in flat),
        min(float(example.min()) for example in flat),
    )
    statistics = _table(builder, {0: _floats(builder, largest), 1: _floats(builder, smallest)})
    fields = {0: _text(builder, tensor.name), 3: _offset(_content(builder, tensor))}
    if tensor.dtype in SCALED:
        fields[4] = _vector(builder, [_normalisation(builder)])
    return _table(builder, {**fields, 5: _offset(statistics)})


def _sink(builder: Any, spec: ModelSpec, name: str) -> int:
    """Write an output: its name, and the file of its class names."""
    file = _label_file(spec, name)
    there = file in label_files(spec)
    files = [_table(builder, {0: _text(builder, file), 2: _byte(TENSOR_AXIS_LABELS)})] if there else []
    return _table(builder, {0: _text(builder, name), 6: _vector(builder, files)})


def label_files(spec: ModelSpec) -> dict[str, tuple[str, ...]]:
    """Return the class names, one per column, of each output that has any, by the name of their file."""
    files = {
        _label_file(spec, output.name): column_names(spec.labels_of(output.name), columns(output))
        for output in spec.outputs
    }
    return {name: labels for name, labels in files.items() if labels}


def _label_file(spec: ModelSpec, output: str) -> str:
    return LABELS_NAME if len(spec.outputs) == 1 else f"{output}_{LABELS_NAME}"


def _normalisation(builder: Any) -> int:
    options = _table(builder, {0: _floats(builder, MEAN), 1: _floats(builder, STD)})
    return _table(builder, {0: _byte(NORMALIZATION_OPTIONS), 1: _offset(options)})


def _content(builder: Any, tensor: TensorSpec) -> int:
    channels = tensor.shape[-1]
    if len(tensor.shape) == IMAGE_RANK and channels in COLOR_SPACES:
        properties = _table(builder, {0: _byte(COLOR_SPACES[channels])})
        return _table(builder, {0: _byte(IMAGE_PROPERTIES), 1: _offset(properties)})
    return _table(builder, {0: _byte(FEATURE_PROPERTIES), 1: _offset(_table(builder, {}))})


def _table(builder: Any, fields: dict[int, Field]) -> int:
    """Write a table of fields by number; what they point to was written before, as tables do not nest."""
    builder.StartObject(max(fields, default=-1) + 1)
    for number, write in fields.items():
        write(builder, number)
    return int(builder.EndObject())


def _offset(offset: int) -> Field:
    return lambda builder, number: builder.PrependUOffsetTRelativeSlot(number, offset, 0)


def _byte(value: int) -> Field:
    return lambda builder, number: builder.PrependUint8Slot(number, value, 0)


def _text(builder: Any, text: str) -> Field:
    return _offset(builder.CreateSharedString(text))


def _floats(builder: Any, *values: float) -> Field:
    return _offset(builder.CreateNumpyVector(np.array(values, np.float32)))


def _vector(builder: Any, offsets: Sequence[int]) -> Field:
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return _offset(builder.EndVector())


def with_labels(content: bytes, files: Mapping[str, Sequence[str]]) -> bytes:
    """Append a zip archive with the labels to `content`, one a line, the same bytes every time.

    Without labels, return `content` as it is.
    """
    if not files:
        return content
    file = io.BytesIO(content)
    with zipfile.ZipFile(file, "a") as archive:
        for name, labels in files.items():
            # A fixed date (the format's earliest), so that equal models make equal files.
            archive.writestr(zipfile.ZipInfo(name), "".join(f"{label}\n" for label in labels))
    return file.getvalue()

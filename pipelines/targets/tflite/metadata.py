"""TensorFlow Lite metadata: what the tensors mean, inside the file, where phones' tools look for it.

A `ModelMetadata` flatbuffer (metadata_schema.fbs of TensorFlow Lite Support, schema 1.x) goes into a buffer
of the model called TFLITE_METADATA, and the label file into a zip archive after it. Runtimes skip both.
The numbers of fields and union members below are that schema's.
"""

import io
import zipfile
from collections.abc import Callable, Sequence
from typing import Any

import flatbuffers  # type: ignore[import-untyped]
import numpy as np

from models.labels import column_names
from models.spec import FloatArray, ModelSpec, TensorSpec

BUFFER_NAME = "TFLITE_METADATA"
IDENTIFIER = b"M001"
LABELS_NAME = "labels.txt"
# The oldest parser that understands every field written here.
MIN_PARSER_VERSION = "1.0.0"
# Our models take raw values: their scaling is part of the graph, so a caller has nothing to normalise.
MEAN, STD = 0.0, 1.0

TENSOR_AXIS_LABELS = 2
IMAGE_PROPERTIES, FEATURE_PROPERTIES = 2, 1
NORMALIZATION_OPTIONS = 1
COLOR_SPACES = {3: 1, 1: 2}  # channels: RGB, GRAYSCALE
IMAGE_RANK = 4

# Writes one field, given the builder and the field's number.
Field = Callable[[Any, int], None]


def describe(spec: ModelSpec, precision: str, training: FloatArray) -> bytes:
    """The `ModelMetadata` flatbuffer of `spec`; the range of its input is that of `training` (n, …)."""
    builder = flatbuffers.Builder(1024)
    names = column_names(spec.labels_of(spec.output.name), spec.columns)
    files = [_table(builder, {0: _text(builder, LABELS_NAME), 2: _byte(TENSOR_AXIS_LABELS)})] if names else []
    statistics = _table(
        builder,
        {0: _floats(builder, float(training.max())), 1: _floats(builder, float(training.min()))},
    )
    source = _table(
        builder,
        {
            0: _text(builder, spec.input.name),
            3: _offset(_content(builder, spec.input)),
            4: _vector(builder, [_normalisation(builder)]),
            5: _offset(statistics),
        },
    )
    sink = _table(builder, {0: _text(builder, spec.output.name), 6: _vector(builder, files)})
    graph = _table(builder, {2: _vector(builder, [source]), 3: _vector(builder, [sink])})
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
    """A table with the given fields by number. What they point to was written before: no nesting."""
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


def with_labels(content: bytes, labels: Sequence[str]) -> bytes:
    """`content` followed by a zip archive that holds the labels, one a line, the same bytes every time.

    Without labels `content` as it is.
    """
    if not labels:
        return content
    file = io.BytesIO(content)
    with zipfile.ZipFile(file, "a") as archive:
        # A fixed date (the format's earliest), so that equal models make equal files.
        archive.writestr(zipfile.ZipInfo(LABELS_NAME), "".join(f"{label}\n" for label in labels))
    return file.getvalue()

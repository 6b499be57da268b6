"""The Open Inference Protocol v2 over gRPC: `ModelInferRequest`, answered by `ModelInferResponse`.

Tensors go as raw contents: their bytes, little-endian, one entry for each tensor in order. A server may
answer in typed contents instead, which FP16 has none of.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from numpy.typing import NDArray

from loadtests.codecs import Sample, little_endian, packed_text, stacked, unpacked_text
from loadtests.codecs.oip_json import DATATYPES, TEXT, datatype
from loadtests.codecs.versions import split_version
from loadtests.protos import message

CONTENT_TYPE: Final = "application/grpc"
REQUEST: Final = message("inference.ModelInferRequest")
RESPONSE: Final = message("inference.ModelInferResponse")
# The field of typed contents, by the protocol's datatype.
CONTENTS: Final = {
    "BOOL": "bool_contents",
    **{f"INT{bits}": "int_contents" for bits in (8, 16, 32)},
    **{f"UINT{bits}": "uint_contents" for bits in (8, 16, 32)},
    "INT64": "int64_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    TEXT: "bytes_contents",
}


def encode(samples: Sequence[Sample], model: str = "") -> bytes:
    """Encode samples as one request to `model`, or to its version after `/versions/`.

    Raises:
        PayloadError: a dtype that the protocol has not, or samples of different shapes.
    """
    name, _, version = split_version(model)
    request = REQUEST(model_name=name, model_version=version)
    _fill(request.inputs, request.raw_input_contents, stacked(samples))
    body: bytes = request.SerializeToString(deterministic=True)
    return body


def decode(body: bytes) -> dict[str, NDArray[Any]] | None:
    """Return the outputs, each of shape (rows, ...); None where the body holds none of numbers or bool."""
    try:
        response = RESPONSE.FromString(body)
        raw = response.raw_output_contents
        if raw and len(raw) != len(response.outputs):
            return None
        arrays = {
            output.name: _raw(output, raw[place]) if raw else _typed(output)
            for place, output in enumerate(response.outputs)
        }
    except (DecodeError, ValueError, KeyError, OverflowError):
        return None
    return arrays if arrays and all(array.ndim for array in arrays.values()) else None


def rows_count(body: bytes) -> int | None:
    """Return how many rows a request asks about; None where it is none."""
    try:
        return int(REQUEST.FromString(body).inputs[0].shape[0])
    except (DecodeError, IndexError):
        return None


def answer(outputs: Mapping[str, NDArray[Any]]) -> bytes:
    """Write outputs, each of shape (rows, ...), as raw contents."""
    response = RESPONSE()
    _fill(response.outputs, response.raw_output_contents, outputs)
    body: bytes = response.SerializeToString(deterministic=True)
    return body


def _fill(tensors: Any, raw: Any, arrays: Mapping[str, NDArray[Any]]) -> None:
    for name, array in arrays.items():
        tensors.add(name=name, datatype=datatype(array), shape=array.shape)
        is_text = array.dtype.kind == "S"
        raw.append(packed_text(array) if is_text else little_endian(array).tobytes())


def _raw(tensor: Any, data: bytes) -> NDArray[Any]:
    if tensor.datatype == TEXT:
        return unpacked_text(data, _shape(tensor))
    dtype = np.dtype(DATATYPES[tensor.datatype]).newbyteorder("<")
    return np.frombuffer(data, dtype).reshape(_shape(tensor))


def _typed(tensor: Any) -> NDArray[Any]:
    values = getattr(tensor.contents, CONTENTS[tensor.datatype])
    shape = _shape(tensor)
    if len(values) != math.prod(shape):
        raise ValueError(f"{len(values)} values in the shape {shape}")
    dtype = "S" if tensor.datatype == TEXT else DATATYPES[tensor.datatype]
    return np.array(list(values), dtype).reshape(shape)


def _shape(tensor: Any) -> tuple[int, ...]:
    shape = tuple(tensor.shape)
    # NumPy would find out a negative size by itself, and so take an answer that says nothing.
    if any(size < 0 for size in shape):
        raise ValueError(f"{shape} is no shape")
    return shape

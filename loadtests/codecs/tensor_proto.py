"""TensorFlow Serving over gRPC: `PredictRequest` with `tensor_content`, answered by `PredictResponse`."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from numpy.typing import NDArray

from loadtests.codecs import Sample, little_endian, stacked
from loadtests.codecs.versions import fill_model_spec
from loadtests.errors import PayloadError
from loadtests.protos import message

CONTENT_TYPE: Final = "application/grpc"
REQUEST: Final = message("tensorflow.serving.PredictRequest")
RESPONSE: Final = message("tensorflow.serving.PredictResponse")
TEXT: Final = "string"
# NumPy's name: TensorFlow's number, and the field that typed values are in; strings have that field alone.
DTYPES: Final = {
    "float32": (1, "float_val"),
    "float64": (2, "double_val"),
    "int32": (3, "int_val"),
    "uint8": (4, "int_val"),
    "int16": (5, "int_val"),
    "int8": (6, "int_val"),
    TEXT: (7, "string_val"),
    "int64": (9, "int64_val"),
    "bool": (10, "bool_val"),
    "uint16": (17, "int_val"),
    "float16": (19, "half_val"),
    "uint32": (22, "uint32_val"),
    "uint64": (23, "uint64_val"),
}
_BY_NUMBER: Final = {number: (name, field) for name, (number, field) in DTYPES.items()}
ELEMENTS_LIMIT: Final = 2**28


def encode(samples: Sequence[Sample], model: str = "") -> bytes:
    """Encode samples as one request to `model`, or to its version after `/versions/` or `/labels/`.

    Raises:
        PayloadError: samples of different shapes, or of a dtype that TensorFlow does not have.
    """
    request = REQUEST()
    fill_model_spec(request.model_spec, model)
    for name, array in stacked(samples).items():
        _fill(request.inputs[name], array)
    body: bytes = request.SerializeToString(deterministic=True)
    return body


def decode(body: bytes) -> dict[str, NDArray[Any]] | None:
    """Return the outputs, each of shape (rows, ...); None where they are no numbers, bool or strings."""
    try:
        response = RESPONSE.FromString(body)
        arrays = {name: _array(proto) for name, proto in response.outputs.items()}
    except (DecodeError, ValueError, KeyError, OverflowError):
        return None
    return arrays if arrays and all(array.ndim for array in arrays.values()) else None


def rows_count(body: bytes) -> int | None:
    """Return how many rows a request asks about; None where it is none."""
    try:
        inputs = REQUEST.FromString(body).inputs
        return int(next(iter(inputs.values())).tensor_shape.dim[0].size)
    except (DecodeError, StopIteration, IndexError):
        return None


def answer(outputs: Mapping[str, NDArray[Any]]) -> bytes:
    """Write outputs, each of shape (rows, ...), as `tensor_content`."""
    response = RESPONSE()
    for name, array in outputs.items():
        _fill(response.outputs[name], array)
    body: bytes = response.SerializeToString(deterministic=True)
    return body


def _fill(proto: Any, array: NDArray[Any]) -> None:
    name = TEXT if array.dtype.kind == "S" else array.dtype.name
    if name not in DTYPES:
        raise PayloadError(
            f"a tensor of {array.dtype} cannot be sent to TensorFlow; allowed: {', '.join(DTYPES)}"
        )
    proto.dtype = DTYPES[name][0]
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    if name == TEXT:
        proto.string_val.extend(array.ravel().tolist())
        return
    proto.tensor_content = little_endian(array).tobytes()


def _array(proto: Any) -> NDArray[Any]:
    """Read a proto's tensor: its content, or typed values, the last of which stands for all that lack."""
    name, field = _BY_NUMBER[proto.dtype]
    dtype = np.dtype("S" if name == TEXT else name).newbyteorder("<")
    shape = tuple(dim.size for dim in proto.tensor_shape.dim)
    size = math.prod(shape)
    if proto.tensor_shape.unknown_rank or any(dim < 0 for dim in shape) or size > ELEMENTS_LIMIT:
        raise ValueError(f"a tensor of shape {shape}")
    if proto.tensor_content and name == TEXT:
        raise ValueError("strings are no content of fixed size")
    if proto.tensor_content:
        return np.frombuffer(proto.tensor_content, dtype).reshape(shape)
    values = getattr(proto, field)
    flat = np.array(values, np.uint16).view(dtype) if name == "float16" else np.array(values, dtype)
    if len(flat) < size:
        filler = flat[-1] if len(flat) else np.zeros((), dtype)[()]
        flat = np.concatenate([flat, np.full(size - len(flat), filler, flat.dtype)])
    return flat.reshape(shape)

"""TensorProto to numpy and back, without TensorFlow's slow per-element Python helpers."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from .dtypes import (
    DT_BFLOAT16,
    DT_BOOL,
    DT_COMPLEX64,
    DT_COMPLEX128,
    DT_DOUBLE,
    DT_FLOAT,
    DT_HALF,
    DT_INT8,
    DT_INT16,
    DT_INT32,
    DT_INT64,
    DT_STRING,
    DT_UINT8,
    DT_UINT16,
    DT_UINT32,
    DT_UINT64,
    MAX_RANK,
    MAX_STRING_RANK,
    Array,
    dtype_of,
    numpy_dtype,
)
from .json_tensor import object_array
from .memory_cost import string_tensor_cost, tensor_cost

Take = Callable[[int], None]

_FIELDS = {
    DT_FLOAT: "float_val",
    DT_DOUBLE: "double_val",
    DT_INT32: "int_val",
    DT_UINT8: "int_val",
    DT_INT16: "int_val",
    DT_INT8: "int_val",
    DT_UINT16: "int_val",
    DT_STRING: "string_val",
    DT_COMPLEX64: "scomplex_val",
    DT_COMPLEX128: "dcomplex_val",
    DT_INT64: "int64_val",
    DT_BOOL: "bool_val",
    DT_HALF: "half_val",
    DT_BFLOAT16: "half_val",
    DT_UINT32: "uint32_val",
    DT_UINT64: "uint64_val",
}
_HALVES = (DT_HALF, DT_BFLOAT16)
_COMPLEX = {DT_COMPLEX64: np.float32, DT_COMPLEX128: np.float64}
# Packed float and double fields are their values' own bytes after this tag, so an array goes in with one
# copy.
_PACKED_TAG = {DT_FLOAT: b"\x2a", DT_DOUBLE: b"\x32"}
_VARINT_BITS = 7


def to_array(proto: Any, take: Take | None = None) -> Array | None:
    """Return the array a TensorProto holds, or None if it has an unknown type or shape or a wrong size.

    A list of values that is shorter than the shape says repeats its last value, an empty one is all zeros;
    `take` gets the bytes this needs before they are taken, and may raise.
    """
    numpy_type = numpy_dtype(proto.dtype)
    # Looked at before anything is converted: some conversions end the process at too many dimensions.
    if numpy_type is None or proto.tensor_shape.unknown_rank or too_many_dimensions(proto):
        return None
    shape = tuple(dim.size for dim in proto.tensor_shape.dim)
    if any(size < 0 for size in shape):
        return None
    if take is not None:
        take(_cost(proto, math.prod(shape), numpy_type))
    try:
        if proto.tensor_content and proto.dtype != DT_STRING:
            return np.frombuffer(proto.tensor_content, dtype=numpy_type).reshape(shape)
        flat = _from_values(getattr(proto, _FIELDS[proto.dtype]), proto.dtype, numpy_type)
        return _filled(flat, math.prod(shape)).reshape(shape)
    except (ValueError, MemoryError):  # sizes that do not fit, or a shape larger than the machine
        return None


def too_many_dimensions(proto: Any) -> bool:
    """Return whether a TensorProto has more dimensions than TensorFlow takes in a numpy array of its type."""
    limit = MAX_STRING_RANK if proto.dtype == DT_STRING else MAX_RANK
    return len(proto.tensor_shape.dim) > limit


def _cost(proto: Any, size: int, numpy_type: np.dtype[Any]) -> int:
    if proto.dtype == DT_STRING:
        return string_tensor_cost(size, proto.string_val)
    if proto.tensor_content:
        return 0  # nothing is filled, and the content itself was counted when the message came
    return tensor_cost(size, numpy_type.itemsize, getattr(proto, _FIELDS[proto.dtype]))


def _from_values(values: Iterable[Any], dtype: int, numpy_type: np.dtype[Any]) -> Array:
    if dtype == DT_STRING:
        return object_array(list(values))
    if dtype in _HALVES:
        return np.array(list(values), dtype=np.int64).astype(np.uint16).view(numpy_type)
    if dtype in _COMPLEX:
        return np.array(list(values), dtype=_COMPLEX[dtype]).view(numpy_type)
    if dtype in (DT_FLOAT, DT_DOUBLE, DT_BOOL):
        return np.array(list(values), dtype=numpy_type)
    return np.array(list(values), dtype=np.uint64 if dtype == DT_UINT64 else np.int64).astype(numpy_type)


def _filled(flat: Array, size: int) -> Array:
    if flat.size >= size:
        return flat[:size]
    last = flat[-1] if flat.size else (b"" if flat.dtype == object else flat.dtype.type(0))
    result = np.empty(size, dtype=flat.dtype)
    result[: flat.size] = flat
    result[flat.size :] = last
    return result


def fill_proto(proto: Any, tensor: Array) -> None:
    """Write an array into an empty TensorProto as typed values, the way the real server does."""
    dtype = dtype_of(tensor.dtype)
    proto.dtype = dtype
    for size in tensor.shape:
        proto.tensor_shape.dim.add().size = size
    if dtype in _PACKED_TAG:
        raw = tensor.tobytes()
        proto.MergeFromString(_PACKED_TAG[dtype] + _varint(len(raw)) + raw)
    else:
        getattr(proto, _FIELDS[dtype]).extend(_values(tensor.ravel(), dtype))


def _values(flat: Array, dtype: int) -> list[Any]:
    if dtype in _HALVES:
        flat = flat.view(np.uint16)
    elif dtype in _COMPLEX:
        flat = flat.view(_COMPLEX[dtype])
    values: list[Any] = flat.tolist()
    return values


def _varint(number: int) -> bytes:
    groups = bytearray()
    while number >= 1 << _VARINT_BITS:
        groups.append(number & 0x7F | 0x80)
        number >>= _VARINT_BITS
    groups.append(number)
    return bytes(groups)

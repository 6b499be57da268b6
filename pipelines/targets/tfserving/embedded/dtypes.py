"""TensorFlow's DataType numbers, their names in messages, and the numpy types that hold them.

Needs no tensorflow.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import numpy as np

DT_FLOAT: Final = 1
DT_DOUBLE: Final = 2
DT_INT32: Final = 3
DT_UINT8: Final = 4
DT_INT16: Final = 5
DT_INT8: Final = 6
DT_STRING: Final = 7
DT_COMPLEX64: Final = 8
DT_INT64: Final = 9
DT_BOOL: Final = 10
DT_BFLOAT16: Final = 14
DT_UINT16: Final = 17
DT_COMPLEX128: Final = 18
DT_HALF: Final = 19
DT_UINT32: Final = 22
DT_UINT64: Final = 23

_NAMES: Final = {
    1: "float", 2: "double", 3: "int32", 4: "uint8", 5: "int16", 6: "int8", 7: "string", 8: "complex64",
    9: "int64", 10: "bool", 11: "qint8", 12: "quint8", 13: "qint32", 14: "bfloat16", 15: "qint16", 16:
    "quint16", 17: "uint16", 18: "complex128", 19: "half", 20: "resource", 21: "variant", 22: "uint32", 23:
    "uint64", 24: "float8_e5m2", 25: "float8_e4m3fn", 29: "int4", 30: "uint4",
}  # fmt: skip

_NUMPY: Final[dict[int, Any]] = {
    DT_FLOAT: np.float32,
    DT_DOUBLE: np.float64,
    DT_INT32: np.int32,
    DT_UINT8: np.uint8,
    DT_INT16: np.int16,
    DT_INT8: np.int8,
    DT_STRING: np.object_,
    DT_COMPLEX64: np.complex64,
    DT_INT64: np.int64,
    DT_BOOL: np.bool_,
    DT_UINT16: np.uint16,
    DT_COMPLEX128: np.complex128,
    DT_HALF: np.float16,
    DT_UINT32: np.uint32,
    DT_UINT64: np.uint64,
}

# TensorFlow's own limit is 254, numpy's is 64, and TensorFlow's conversion of strings ends the process at 33.
MAX_RANK: Final = 64
MAX_STRING_RANK: Final = 32

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One named input or output of a signature.

    `tensor_name` is its name in the graph (`x:0`); `shape` has -1 for a free dimension and is None when the
    rank is unknown.
    """

    tensor_name: str
    dtype: int
    shape: tuple[int, ...] | None


def dtype_name(dtype: int) -> str:
    """Return the name TensorFlow prints for a DataType number, such as `float` or `int32`."""
    return _NAMES.get(dtype, f"unknown dtype enum ({dtype})")


@cache
def numpy_dtype(dtype: int) -> np.dtype[Any] | None:
    """Return the numpy type for a DataType number (strings are objects), or None where numpy has none."""
    if dtype == DT_BFLOAT16:
        from ml_dtypes import bfloat16

        half: np.dtype[Any] = np.dtype(bfloat16)
        return half
    numpy_type = _NUMPY.get(dtype)
    return None if numpy_type is None else np.dtype(numpy_type)


@cache
def dtype_of(numpy_type: np.dtype[Any]) -> int:
    """Return the DataType number of a numpy type; bytes and objects are strings, unknown types 0."""
    if numpy_type.kind in "OSU":
        return DT_STRING
    if numpy_type.name == "bfloat16":
        return DT_BFLOAT16
    return next((number for number, own_type in _NUMPY.items() if np.dtype(own_type) == numpy_type), 0)

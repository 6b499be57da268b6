"""Estimates of the memory a request will take, in bytes, made before it is taken.

They bound what was seen of CPython's, numpy's, protobuf's and TensorFlow's objects; a model's own memory is
not part of them.
"""

import math
from typing import Any

import numpy as np

from .dtypes import DT_DOUBLE, DT_FLOAT, DT_STRING, Array, dtype_of

# A body whose every byte costs the most is assumed to be so as long as that is not much.
_SMALL_BODY_BYTES = 1 << 20
_MOST_PER_JSON_BYTE = 48
_PER_JSON_BYTE = {b",": 56, b"[": 100, b"{": 120, b":": 160, b'"': 50}
_COUNTED_AT_ONCE = 1 << 20
_PER_OBJECT = 40
_PER_JSON_VALUE = 130
_PROTO_COPIES = 5
_TENSORFLOW_STRING = 32


def json_cost(body: bytes) -> int:
    """Return the bytes that parsing a JSON body to Python objects and arrays takes."""
    if len(body) <= _SMALL_BODY_BYTES:
        return len(body) * _MOST_PER_JSON_BYTE
    # One wide character makes four bytes of every character of its string.
    cost = len(body) * (2 if body.isascii() and b"\\u" not in body else 6)
    for at in range(0, len(body), _COUNTED_AT_ONCE):
        part = np.frombuffer(body, np.uint8, min(_COUNTED_AT_ONCE, len(body) - at), at)
        cost += sum(each * int(np.count_nonzero(part == byte[0])) for byte, each in _PER_JSON_BYTE.items())
    return cost


def tensor_cost(size: int, item_bytes: int, values: Any) -> int:
    """Return the bytes of a tensor of `size` elements filled from the listed `values` of a TensorProto."""
    return size * item_bytes + len(values) * _PER_OBJECT


def string_tensor_cost(size: int, values: Any) -> int:
    """Return the same for strings: TensorFlow copies the repeated last one for each element."""
    text_bytes = sum(map(len, values))
    repeated = max(size - len(values), 0) * (len(values[-1]) if values else 0)
    return size * (8 + _TENSORFLOW_STRING) + len(values) * _PER_OBJECT + 3 * text_bytes + repeated


def json_answer_cost(output: Array) -> int:
    """Return the bytes that writing an output tensor as JSON takes."""
    elements = _lists_and_values(output)
    if output.dtype == object:
        return 8 * _text_bytes(output) + elements * _PER_JSON_VALUE
    return output.nbytes + elements * _PER_JSON_VALUE


def proto_answer_cost(output: Array) -> int:
    """Return the bytes that writing an output tensor as a serialized TensorProto takes."""
    dtype = dtype_of(output.dtype)
    if dtype == DT_STRING:
        return _PROTO_COPIES * _text_bytes(output) + output.size * 2 * _PER_OBJECT
    if dtype in (DT_FLOAT, DT_DOUBLE):
        return _PROTO_COPIES * output.nbytes
    return output.size * (_PER_OBJECT + 4 * _PROTO_COPIES)


def _text_bytes(output: Array) -> int:
    return sum(map(len, output.ravel().tolist()))


def _lists_and_values(output: Array) -> int:
    """Count the values, or the lists there are around a dimension of 0."""
    if output.size or 0 not in output.shape:
        return output.size
    return math.prod(output.shape[: output.shape.index(0)])

"""Output tensors to the JSON body of an answer, laid out like the real server's to have the same size."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from .base64_text import encode_base64
from .decimals import float32_text, float_texts
from .dtypes import (
    DT_BOOL,
    DT_DOUBLE,
    DT_FLOAT,
    DT_INT8,
    DT_INT16,
    DT_INT32,
    DT_INT64,
    DT_STRING,
    DT_UINT8,
    DT_UINT32,
    DT_UINT64,
    Array,
    dtype_name,
    dtype_of,
)
from .json_text import string_text
from .status import invalid

_INTEGERS = (DT_INT32, DT_INT16, DT_INT8, DT_UINT8, DT_INT64, DT_UINT32, DT_UINT64)
_STEP = "    "


def error_body(message: str) -> bytes:
    """Write the body of every failed request: `{"error": message}`."""
    return f'{{\n    "error": {string_text(message)}\n}}'.encode()


def row_body(outputs: Mapping[str, Array]) -> bytes:
    """Write `{"predictions": [one value or object per row]}`.

    Raises ServingError unless all outputs share a batch size.
    """
    _check_batch_sizes(outputs)
    columns = {name: _row_texts(name, tensor) for name, tensor in outputs.items()}
    if len(columns) == 1:
        rows = ", ".join(next(iter(columns.values())))
    else:
        keys = [string_text(name) for name in columns]
        rows = ",".join(_row_object(keys, values) for values in zip(*columns.values(), strict=True))
    return f'{{\n    "predictions": [{rows}\n    ]\n}}'.encode()


def _row_object(keys: Sequence[str], values: Sequence[str]) -> str:
    gap = "\n" + _STEP * 3
    members = ",".join(f"{gap}{key}: {value}" for key, value in zip(keys, values, strict=True))
    return f"\n{_STEP * 2}{{{members}\n{_STEP * 2}}}"


def _check_batch_sizes(outputs: Mapping[str, Array]) -> None:
    if not outputs:
        raise invalid("Cannot convert empty tensor map to JSON")
    expected = -1
    for name, tensor in outputs.items():
        if tensor.ndim == 0:
            raise invalid(f"Tensor name: {name} has no shape information ")
        if expected not in (-1, tensor.shape[0]):
            raise invalid(
                f"Tensor name: {name} has inconsistent batch size: {tensor.shape[0]} expecting: {expected}"
            )
        expected = tensor.shape[0]


def _row_texts(name: str, tensor: Array) -> list[str]:
    """Write each row of one output as JSON, nested lists on one line."""
    texts = _element_texts(name, tensor)
    for axis in range(tensor.ndim - 1, 0, -1):
        size = tensor.shape[axis]
        texts = [
            "[" + ", ".join(texts[at * size : (at + 1) * size]) + "]" for at in range(_groups(tensor, axis))
        ]
    return texts


def _groups(tensor: Array, axis: int) -> int:
    """Count the lists along `axis`."""
    return math.prod(tensor.shape[:axis])


def column_body(outputs: Mapping[str, Array]) -> bytes:
    """Write `{"outputs": …}`: one nested list, or an object of them if there is more than one output."""
    if not outputs:
        raise invalid("Cannot convert empty tensor map to JSON")
    if len(outputs) == 1:
        ((name, tensor),) = outputs.items()
        return f'{{\n    "outputs": {_column_text(name, tensor, 1)}\n}}'.encode()
    gap = "\n" + _STEP * 2
    members = ",".join(
        f"{gap}{string_text(name)}: {_column_text(name, tensor, 2)}" for name, tensor in outputs.items()
    )
    return f'{{\n    "outputs": {{{members}\n    }}\n}}'.encode()


def _column_text(name: str, tensor: Array, depth: int) -> str:
    """Write the whole tensor as nested lists with one element per line, indented from `depth`."""
    texts = _element_texts(name, tensor)
    for axis in range(tensor.ndim - 1, -1, -1):
        size, groups = tensor.shape[axis], _groups(tensor, axis)
        gap, end = "\n" + _STEP * (depth + axis + 1), "\n" + _STEP * (depth + axis)
        if size == 0:
            texts = ["[]"] * groups
        else:
            texts = [
                f"[{gap}{f',{gap}'.join(texts[at * size : (at + 1) * size])}{end}]" for at in range(groups)
            ]
    return texts[0]


def _element_texts(name: str, tensor: Array) -> list[str]:
    """Write every element as JSON, in order.

    Raises ServingError for a type that JSON answers cannot hold.
    """
    dtype = dtype_of(tensor.dtype)
    if tensor.size == 0:
        return []
    if dtype in (DT_FLOAT, DT_DOUBLE):
        return float_texts(tensor.ravel())
    if dtype in _INTEGERS:
        return list(map(str, tensor.ravel().tolist()))
    if dtype == DT_BOOL:
        return ["true" if value else "false" for value in tensor.ravel().tolist()]
    if dtype == DT_STRING:
        as_bytes = name.endswith("_bytes")
        return [_string_element(value, as_bytes) for value in tensor.ravel().tolist()]
    raise invalid(f"Failed to write JSON value for tensor type: {dtype_name(dtype)}")


def _string_element(value: Any, as_bytes: bool) -> str:
    raw = value if isinstance(value, bytes) else str(value).encode()
    if as_bytes:
        return f'{{"b64": "{encode_base64(raw)}"}}'
    return string_text(raw.decode("utf-8", "replace"))


def classify_body(rows: Sequence[Sequence[tuple[bytes, float]]]) -> bytes:
    """Write `{"results": [[[label, score], …], …]}`, one list of pairs per example."""
    texts = ("[" + ", ".join(_pair(label, score) for label, score in row) + "]" for row in rows)
    return f'{{\n    "results": [{", ".join(texts)}\n    ]\n}}'.encode()


def _pair(label: bytes, score: float) -> str:
    return f"[{string_text(label.decode('utf-8', 'replace'))}, {float32_text(score)}]"


def regress_body(values: Array) -> bytes:
    """Write `{"results": [value, …]}`, one float32 per example."""
    return f'{{\n    "results": [{", ".join(float_texts(values))}]\n}}'.encode()

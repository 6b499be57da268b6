"""TensorFlow Serving's row format: `{"instances": [...]}`, answered by `{"predictions": [...]}`.

A row of several inputs or outputs is an object, `{"a": ..., "b": ...}`.
"""

import json
import math
from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from loadtests.codecs import UNNAMED, Sample, is_bytes, of_values
from loadtests.errors import PayloadError

CONTENT_TYPE: Final = "application/json"


def encode(samples: Sequence[Sample], model: str = "") -> bytes:  # noqa: ARG001 - the URL names the model
    """Encode samples, arrays by input name without the batch dimension, as one request body.

    A row is the bare nested list of an only input, else an object of all inputs. Compact JSON: true and false
    for bool, whole numbers for integers, bytes that are no text as `{"b64": "…"}`; a whole float such as
    1e16 is written without exponent, so that every server is sent the same text whatever wrote it.

    Raises:
        PayloadError: a value that JSON cannot carry (NaN, infinity).
    """
    return b'{"instances":[' + ",".join(map(_row_text, samples)).encode() + b"]}"


def decode(body: bytes) -> dict[str, NDArray[Any]] | None:
    """Return the predictions, each output of shape (rows, ...); None where they are no numbers, bool or text.

    Rows that are objects name their outputs; else there is one, called `UNNAMED`.
    """
    try:
        rows = json.loads(body)["predictions"]
        outputs = {UNNAMED: rows}
        if rows and isinstance(rows[0], dict) and not is_bytes(rows[0]):
            if any(row.keys() != rows[0].keys() for row in rows):
                return None
            outputs = {name: [row[name] for row in rows] for name in rows[0]}
        return of_values(outputs)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def rows_count(body: bytes) -> int | None:
    """Return how many rows a request body asks about; None where it is not in row format."""
    try:
        return len(json.loads(body)["instances"])
    except (ValueError, TypeError, KeyError):
        return None


def answer(outputs: Mapping[str, NDArray[Any]]) -> bytes:
    """Write outputs, each of shape (rows, ...), as the server does."""
    columns = {name: listed(array) for name, array in outputs.items()}
    if len(columns) == 1:
        return json.dumps({"predictions": next(iter(columns.values()))}).encode()
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return json.dumps({"predictions": rows}).encode()


def listed(array: NDArray[Any]) -> Any:
    """Convert to nested lists of what JSON knows; bytes to text, or to base64 where they are none."""
    values = array.tolist()
    return _listed_text(values) if array.dtype.kind == "S" else values


def _listed_text(values: Any) -> Any:
    return [_listed_text(value) for value in values] if isinstance(values, list) else text_or_b64(values)


def text_or_b64(value: bytes) -> str | dict[str, str]:
    """Convert bytes to what TensorFlow Serving takes in JSON."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"b64": b64encode(value).decode()}


def _row_text(sample: Sample) -> str:
    texts = {name: json_text(np.asarray(array)) for name, array in sample.items()}
    if len(texts) == 1:
        return next(iter(texts.values()))
    return f"{{{','.join(f'{json.dumps(name)}:{text}' for name, text in texts.items())}}}"


def json_text(array: NDArray[Any]) -> str:
    """Write nested lists. Every value that occurs is put into words once: images have few different ones."""
    if array.size == 0:
        return json.dumps(listed(array))
    values, places = np.unique(array, return_inverse=True)
    words = [_value_text(value) for value in values.tolist()]
    items = [words[place] for place in places.ravel().tolist()]
    for size in reversed(array.shape):
        items = [f"[{','.join(items[at : at + size])}]" for at in range(0, len(items), size)]
    return items[0]


def _value_text(value: Any) -> str:
    if isinstance(value, bytes):
        return json.dumps(text_or_b64(value), separators=(",", ":"))
    return _float_text(value) if isinstance(value, float) else json.dumps(value)


def _float_text(value: float) -> str:
    if not math.isfinite(value):
        raise PayloadError(f"a sample holds {value}, which JSON cannot carry")
    return f"{value:.1f}" if value.is_integer() else repr(value)

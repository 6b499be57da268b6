"""TensorFlow Serving's row format: `{"instances": [...]}`, answered by `{"predictions": [...]}`."""

import json
import math
from collections.abc import Iterable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from loadtests.errors import PayloadError

CONTENT_TYPE: Final = "application/json"


def encode(samples: Iterable[NDArray[Any]]) -> list[bytes]:
    """Encode each sample, shape (...) without the batch dimension, as one row-format request body.

    Compact JSON; a whole number such as 1e16 is written without exponent, so that every server is
    sent the same text whatever wrote it.

    Raises:
        PayloadError: a value that JSON cannot carry (NaN, infinity).
    """
    return [b'{"instances":[' + _json_text(np.asarray(sample)).encode() + b"]}" for sample in samples]


def decode(body: bytes) -> NDArray[np.float64] | None:
    """Return the predictions, shape (rows, ...), or None where they are not a numeric array."""
    try:
        array = np.asarray(json.loads(body)["predictions"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return array.astype(np.float64) if array.dtype.kind in "if" and array.ndim >= 1 else None


def rows_count(body: bytes) -> int | None:
    """Return how many rows a request body asks about; None where it is not in row format."""
    try:
        return len(json.loads(body)["instances"])
    except (ValueError, TypeError, KeyError):
        return None


def _json_text(array: NDArray[Any]) -> str:
    """Write nested lists. Every value that occurs is put into words once: images have few different ones."""
    if array.size == 0:
        return json.dumps(array.tolist())
    values, places = np.unique(array, return_inverse=True)
    words = [_value_text(value) for value in values.tolist()]
    items = [words[place] for place in places.ravel().tolist()]
    for size in reversed(array.shape):
        items = [f"[{','.join(items[at : at + size])}]" for at in range(0, len(items), size)]
    return items[0]


def _value_text(value: Any) -> str:
    return _float_text(value) if isinstance(value, float) else json.dumps(value)


def _float_text(value: float) -> str:
    if not math.isfinite(value):
        raise PayloadError(f"a sample holds {value}, which JSON cannot carry")
    return f"{value:.1f}" if value.is_integer() else repr(value)

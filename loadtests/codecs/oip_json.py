"""The Open Inference Protocol v2 as JSON: `{"inputs": [tensor, …]}`, answered by `{"outputs": [tensor, …]}`.

A tensor is `{"name", "shape", "datatype", "data"}`, its data flat in row-major order.
"""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from loadtests.codecs import Sample, stacked, text_of
from loadtests.codecs.json_rows import json_text
from loadtests.errors import PayloadError

CONTENT_TYPE: Final = "application/json"
DATATYPES: Final = {
    "BOOL": "bool",
    **{f"{kind}{bits}": f"{kind.lower()}{bits}" for kind in ("INT", "UINT") for bits in (8, 16, 32, 64)},
    **{f"FP{bits}": f"float{bits}" for bits in (16, 32, 64)},
}
"""NumPy's dtypes of numbers by the protocol's names."""
TEXT: Final = "BYTES"
NAMES: Final = {**{dtype: name for name, dtype in DATATYPES.items()}, "string": TEXT}


def encode(samples: Sequence[Sample], model: str = "") -> bytes:  # noqa: ARG001 - the URL names the model
    """Encode samples as one request body.

    Raises:
        PayloadError: a value that JSON cannot carry, a dtype that the protocol has not, or samples of
            different shapes.
    """
    return _body("inputs", stacked(samples))


def decode(body: bytes) -> dict[str, NDArray[Any]] | None:
    """Return the outputs, each of shape (rows, ...); None where the body holds none of numbers or bool."""
    try:
        arrays = {tensor["name"]: tensor_of(tensor) for tensor in json.loads(body)["outputs"]}
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
        return None
    return arrays or None


def rows_count(body: bytes) -> int | None:
    """Return how many rows a request body asks about; None where it is not of this format."""
    try:
        rows = json.loads(body)["inputs"][0]["shape"][0]
    except (ValueError, TypeError, KeyError, IndexError):
        return None
    return rows if type(rows) is int else None


def answer(outputs: Mapping[str, NDArray[Any]]) -> bytes:
    """Write outputs, each of shape (rows, ...), as a server does."""
    return _body("outputs", outputs)


def datatype(array: NDArray[Any]) -> str:
    """Return the protocol's name of an array's dtype.

    Raises:
        PayloadError: it has none.
    """
    name = "string" if array.dtype.kind == "S" else array.dtype.name
    if name not in NAMES:
        raise PayloadError(f"the Open Inference Protocol has no {name}; it has {', '.join(NAMES.values())}")
    return NAMES[name]


def tensor_of(tensor: Mapping[str, Any]) -> NDArray[Any]:
    """Return a tensor's data, nested or flat, in the shape and the datatype it states.

    Raises:
        ValueError, TypeError, KeyError: it is none, or no tensor of numbers, bool or text that fit the
            datatype.
    """
    shape, values = tensor["shape"], np.asarray(tensor["data"])
    if tensor["datatype"] == TEXT:
        texts = text_of(tensor["data"])
        if texts is None or not shape:
            raise ValueError("a value is no text")
        return texts.reshape(shape)
    dtype = np.dtype(DATATYPES[tensor["datatype"]])
    if not shape or any(type(size) is not int or size < 0 for size in shape):
        raise ValueError(f"{shape} is no shape")
    if dtype == np.uint64:
        values = _whole(tensor["data"])  # beyond int64 NumPy would make floats of them
    allowed = {"b": "b", "f": "iuf"}.get(dtype.kind, "iu")
    if values.size and values.dtype.kind not in allowed:
        raise ValueError(f"{values.dtype} is not {dtype}")
    if values.size != math.prod(shape):
        raise ValueError(f"{values.size} values in the shape {shape}")
    with np.errstate(over="ignore"):
        array = values.reshape(shape).astype(dtype)
    if dtype.kind == "f" and np.isinf(array).sum() != np.isinf(values.astype(np.float64)).sum():
        raise ValueError(f"a number is beyond {dtype}")
    return array


def _data(array: NDArray[Any]) -> str:
    """Write a tensor's values; raise PayloadError for bytes that are no text, which JSON cannot carry."""
    if array.dtype.kind == "S":
        try:
            return json.dumps([string.decode() for string in array.ravel().tolist()])
        except UnicodeDecodeError as error:
            raise PayloadError(
                f"a string is no UTF-8 ({error}), and JSON carries nothing else here; ask over gRPC"
            ) from error
    return json_text(array.ravel())


def _whole(data: Any) -> NDArray[Any]:
    objects = np.asarray(data, object)
    if any(type(value) is not int for value in objects.ravel()):
        raise ValueError("a value is no whole number")
    return objects.astype(np.uint64)


def _body(key: str, tensors: Mapping[str, NDArray[Any]]) -> bytes:
    texts = [
        f'{{"name":{json.dumps(name)},"shape":{json.dumps(list(array.shape))},'
        f'"datatype":"{datatype(array)}","data":{_data(array)}}}'
        for name, array in tensors.items()
    ]
    return f'{{"{key}":[{",".join(texts)}]}}'.encode()

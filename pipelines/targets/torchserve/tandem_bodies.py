"""Request bodies and answers of the handler beside it in the model archive, which imports nothing of ours.

What bodies may look like is said there. Its name is nobody else's, as TorchServe's worker finds it by name.
"""

import ast
import io
import json
import math
import re
import zlib
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np

INT32_RANGE = (-(2**31), 2**31 - 1)
# What JSON may hold for each type; small types keep the low bits, as on TensorFlow's side.
RANGES = {
    **dict.fromkeys(("uint8", "int8", "int16", "int32"), INT32_RANGE),
    "int64": (-(2**63), 2**63 - 1),
}
LARGEST_BODY_BYTES = 2**28  # after unpacking
MAGIC = b"\x93NUMPY"
# Spellings that TensorFlow's side knows and Python's does not: of Infinity, and of NaN with a sign.
SPELLINGS = re.compile(r"(?<=[\[,:\s-])Inf(?=[\],}\s])|(?<=[\[,:\s])-NaN(?=[\],}\s])")


def header(context: Any, number: int, name: str) -> str:
    """Return a request's header in lower case, "" without it; HTTP/1.1 clients write its name either way."""
    found = context.get_request_header(number, name) or context.get_request_header(number, name.lower())
    return str(found or "").lower()


def body_bytes(request: dict[str, Any], packed: bool) -> bytearray:
    """Return the body as it is, unpacked.

    Raises:
        ValueError: it is not gzip, or the server took it for something else.
    """
    body = request.get("body", request.get("data"))
    if not isinstance(body, (bytes, bytearray)):
        raise ValueError("the server took the body for something else than bytes")
    return bytearray(unpacked(body)) if packed else body if isinstance(body, bytearray) else bytearray(body)


def is_npy(entry: Any) -> bool:
    """Return whether an entry of a request begins as a `.npy` file does."""
    return isinstance(entry, (bytes, bytearray)) and entry.startswith(MAGIC)


def npy(body: bytes | bytearray) -> np.ndarray:
    """Return the tensor in a `.npy` file without copying it.

    Raises:
        ValueError: it is no such file.
    """
    if not body.startswith(MAGIC) or len(body) < 12:  # noqa: PLR2004 - magic, version and a length
        raise ValueError("it is no .npy file")
    begin = 10 if body[6] == 1 else 12
    end = begin + int.from_bytes(body[8:begin], "little")
    dtype, order, shape = npy_head(bytes(body[begin:end]))
    if dtype.itemsize * math.prod(shape) != len(body) - end:
        raise ValueError(f"a .npy file of {dtype} {shape} has {len(body) - end} bytes of data")
    # Through a bytearray the array may be written to, which torch wants.
    source = body if isinstance(body, bytearray) else bytearray(body)
    return np.frombuffer(source, dtype, offset=end).reshape(shape, order=order)


@lru_cache(maxsize=256)
def npy_head(head: bytes) -> tuple[np.dtype, Any, tuple[int, ...]]:
    """Read dtype, order and shape from the head of a `.npy` file; clients send few different ones.

    Raises:
        ValueError: it is no such head, or of something else than numbers and bool.
    """
    try:
        told = ast.literal_eval(head.decode("latin-1").strip())
        dtype, shape = np.dtype(told["descr"]), tuple(told["shape"])
        order = "F" if told["fortran_order"] else "C"
    except (ValueError, TypeError, KeyError, SyntaxError, MemoryError, RecursionError) as error:
        raise ValueError(f"the head of a .npy file cannot be read: {error}") from error
    if dtype.kind not in "iufb" or not all(type(size) is int and size >= 0 for size in shape):
        raise ValueError(f"a .npy file of {dtype} {shape}; numbers and bool are allowed")
    return dtype, order, shape


def npy_bytes(outputs: dict[str, np.ndarray]) -> bytes:
    """Write one tensor as a `.npy` file, several as a `.npz`, not compressed."""
    file = io.BytesIO()
    if len(outputs) > 1:
        np.savez(file, **outputs)  # type: ignore[arg-type]
    else:
        (array,) = outputs.values()
        np.lib.format.write_array(file, np.ascontiguousarray(array), version=(1, 0), allow_pickle=False)
    return file.getvalue()


def body_text(request: dict[str, Any], packed: bool) -> Any:
    """Return the body as unpacked text; what the server has parsed, in another configuration, as it is.

    Raises:
        ValueError: it is not gzip, or not UTF-8.
    """
    body = request.get("body", request.get("data"))
    if body is None:
        raise ValueError(
            "the server took the body for a form and lost it; send the header Content-Type: application/json"
        )
    if not isinstance(body, (bytes, bytearray)):
        return body
    try:
        return (unpacked(body) if packed else bytes(body)).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"the body is not UTF-8: {error}") from error


def unpacked(body: bytes | bytearray) -> bytes:
    """Unpack a gzip body.

    Raises:
        ValueError: it is no gzip, ends too early, or is too large.
    """
    unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    try:
        found = unpacker.decompress(body, LARGEST_BODY_BYTES)
    except zlib.error as error:
        raise ValueError(f"the body is said to be gzip and is not: {error}") from error
    if unpacker.unconsumed_tail:
        raise ValueError(f"the unpacked body is larger than {LARGEST_BODY_BYTES} bytes")
    if not unpacker.eof:
        raise ValueError("the gzip body ends too early")
    return found


def parse(text: str) -> Any:
    """Parse the JSON in `text`; of a duplicate key the first counts, as on TensorFlow's side.

    Raises:
        ValueError: it is not JSON.
    """
    try:
        return json.loads(text, object_pairs_hook=first_ones)
    except (ValueError, RecursionError) as error:
        if ("Inf" in text or "-NaN" in text) and SPELLINGS.search(text):
            return parse(respelt(text))
        raise ValueError(f"the body is not JSON: {error}") from error


def respelt(text: str) -> str:
    """Write JSON with Python's spellings of what is no finite number."""
    return SPELLINGS.sub(lambda found: "NaN" if "NaN" in found[0] else "Infinity", text)


def first_ones(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object in which the first value of a key counts."""
    return dict(reversed(pairs))


def flat(answer: Any) -> list[Any]:
    """Flatten what a model returns, nested tuples, lists and dicts, to tensors from left to right."""
    if isinstance(answer, dict):
        answer = list(answer.values())
    return [one for part in answer for one in flat(part)] if isinstance(answer, (tuple, list)) else [answer]


def may_hold_text(body: dict[str, Any], text: Any) -> bool:
    """Return whether the text of a body has more quotes than its keys explain: strings among its numbers.

    Counting costs next to nothing, unlike looking at every number.
    """
    if not isinstance(text, str):
        return True
    given = body.get("inputs", body.get("instances"))
    objects = [one for one in (given if isinstance(given, list) else [given]) if isinstance(one, dict)]
    beside = sum(isinstance(value, str) for value in body.values())
    return text.count('"') > 2 * (len(body) + beside + sum(map(len, objects)))


def numbers(nested: Any, dtype: str, text: Any, quoted: bool) -> np.ndarray:
    """Turn nested lists into an array of that dtype.

    Floats may be written as whole numbers, integers may not be written as floats, and bool is true or false.

    Args:
        quoted: whether a string may be among them, of which NumPy would give every number the length.

    Raises:
        ValueError: they are ragged, or hold something else, or what is too large.
    """
    if quoted:
        require_kind(nested, dtype)
    try:
        array = np.asarray(nested)
    except (ValueError, OverflowError) as error:
        raise ValueError("the lists of numbers differ in length or depth") from error
    if not array.size:
        return array.astype(dtype)
    if dtype == "bool":
        if array.dtype.kind != "b":
            require_kind(nested, dtype)
        return array
    # NumPy mixes true and false with numbers.
    mixed = not isinstance(text, str) or "true" in text or "false" in text
    if array.dtype.kind not in "iuf" or (mixed and not kinds(nested) <= {int, float}):
        require_kind(nested, dtype)
    return whole(array, nested, dtype) if dtype in RANGES else floats(array, dtype, text)


def require_kind(nested: Any, dtype: str) -> None:
    """Raise ValueError for the first leaf that is no number, or for bool neither true nor false."""
    for leaf in leaves(nested):
        if dtype == "bool" and not isinstance(leaf, bool):
            raise ValueError(f"{shown(leaf)} is neither true nor false")
        if dtype != "bool" and type(leaf) not in (int, float):
            raise ValueError(f"{shown(leaf)} is not a number")


def whole(array: np.ndarray, nested: Any, dtype: str) -> np.ndarray:
    """Convert numbers to integers of that dtype.

    Raises:
        ValueError: one is no integer, or beyond what may be written for the dtype.
    """
    low, high = RANGES[dtype]
    if array.dtype.kind not in "iu" or int(array.min()) < low or int(array.max()) > high:
        for leaf in leaves(nested):
            if not isinstance(leaf, int):
                raise ValueError(f"{shown(leaf)} is not a whole number, which {dtype} needs")
            if not low <= leaf <= high:
                raise ValueError(f"{shown(leaf)} is beyond {low} to {high}, which is allowed for {dtype}")
    return array.astype(dtype)


def floats(array: np.ndarray, dtype: str, text: Any) -> np.ndarray:
    """Convert numbers to floats of that dtype, through float64.

    Raises:
        ValueError: one is not written as infinite and would be.
    """
    if array.dtype.kind == "f" and np.isinf(array).any() and isinstance(text, str):
        json.loads(respelt(text), parse_float=finite)
    try:
        wide = array.astype(np.float64, copy=False)
    except OverflowError as error:
        raise ValueError("a number is beyond float64") from error
    with np.errstate(over="ignore"):
        single = wide.astype(dtype, copy=False)
    if np.isinf(single).sum() != np.isinf(wide).sum():
        raise ValueError(f"a number is beyond {dtype}, whose largest is {np.finfo(dtype).max:.9g}")
    return single


def shown(leaf: Any) -> str:
    """Write a JSON value for a message."""
    return json.dumps(leaf)[:40]


def kinds(nested: Any) -> set[type]:
    """Return the types of what nested lists hold that is no list; fast where the innermost lists are long."""
    if not isinstance(nested, list):
        return {type(nested)}
    found = set(map(type, nested))
    if list in found:
        found.remove(list)
        found.update(*(kinds(one) for one in nested if isinstance(one, list)))
    return found


def leaves(nested: Any) -> Iterator[Any]:
    """Yield what nested lists hold that is no list."""
    if not isinstance(nested, list):
        yield nested
        return
    for one in nested:
        yield from leaves(one)


def finite(text: str) -> float:
    """Read a number that is not written as Infinity.

    Raises:
        ValueError: it is infinite all the same.
    """
    value = float(text)
    if np.isinf(value):
        raise ValueError(f"{text[:40]} is beyond float64")
    return value

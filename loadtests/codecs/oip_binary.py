"""The Open Inference Protocol v2 with its binary tensor data extension.

A body is a JSON head, then the bytes of all tensors, little-endian, one after the other; the header
`Inference-Header-Content-Length` says where the head ends. The request asks for an answer of the same kind.
Heads of one model have one length, whatever the samples' shapes: numbers in them are padded with spaces, so
that the header is the same for all requests.
"""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from loadtests.codecs import Sample, little_endian, packed_text, stacked, unpacked_text
from loadtests.codecs.oip_json import DATATYPES, TEXT, datatype, tensor_of

CONTENT_TYPE: Final = "application/octet-stream"
HEADER: Final = "Inference-Header-Content-Length"
DIGITS: Final = 12


def encode(samples: Sequence[Sample], model: str = "") -> bytes:  # noqa: ARG001 - the URL names the model
    """Encode samples as one request body.

    Raises:
        PayloadError: a dtype that the protocol has not, or samples of different shapes.
    """
    return _body("inputs", stacked(samples), ',"parameters":{"binary_data_output":true}')


def headers(body: bytes) -> dict[str, str]:
    """Return the HTTP headers that a request with this body needs."""
    return {"Content-Type": CONTENT_TYPE, HEADER: str(_head_end(body))}


def decode(body: bytes) -> dict[str, NDArray[Any]] | None:
    """Return the outputs, each of shape (rows, ...); None where the body holds none of numbers or bool.

    A server may also answer in JSON alone, or some of the outputs.
    """
    try:
        end = _head_end(body)
        return _tensors(json.loads(body[:end])["outputs"], body[end:]) or None
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
        return None


def rows_count(body: bytes) -> int | None:
    """Return how many rows a request body asks about; None where it is not of this format."""
    try:
        rows = json.loads(body[: _head_end(body)])["inputs"][0]["shape"][0]
    except (ValueError, TypeError, KeyError, IndexError):
        return None
    return rows if type(rows) is int else None


def answer(outputs: Mapping[str, NDArray[Any]]) -> bytes:
    """Write outputs, each of shape (rows, ...), as a server does."""
    return _body("outputs", outputs)


def _head_end(body: bytes) -> int:
    """Find where the JSON ends: an answer's own header says it too, but a body is read without its headers.

    Raises:
        ValueError: it does not begin with JSON.
    """
    # One byte a character, so that places in the text are places in the body.
    _, end = json.JSONDecoder().raw_decode(body.decode("latin-1"))
    return end


def _tensors(tensors: Sequence[Mapping[str, Any]], data: bytes) -> dict[str, NDArray[Any]]:
    arrays, place = {}, 0
    for tensor in tensors:
        size = tensor.get("parameters", {}).get("binary_data_size")
        if size is None:
            arrays[tensor["name"]] = tensor_of(tensor)
            continue
        if tensor["datatype"] == TEXT:
            arrays[tensor["name"]] = unpacked_text(data[place : place + size], tensor["shape"])
            place += size
            continue
        dtype, shape = np.dtype(DATATYPES[tensor["datatype"]]).newbyteorder("<"), tensor["shape"]
        if not shape or size != dtype.itemsize * math.prod(shape) or place + size > len(data):
            raise ValueError(f"{size} bytes in the shape {shape}")
        arrays[tensor["name"]] = np.frombuffer(data, dtype, math.prod(shape), place).reshape(shape)
        place += size
    if place != len(data):
        raise ValueError(f"{len(data) - place} bytes too many")
    return arrays


def _body(key: str, tensors: Mapping[str, NDArray[Any]], more: str = "") -> bytes:
    parts = {
        name: packed_text(array) if array.dtype.kind == "S" else little_endian(array).tobytes()
        for name, array in tensors.items()
    }
    heads = [
        f'{{"name":{json.dumps(name)},"shape":[{",".join(map(_padded, array.shape))}],'
        f'"datatype":"{datatype(array)}","parameters":{{"binary_data_size":{_padded(len(parts[name]))}}}}}'
        for name, array in tensors.items()
    ]
    return f'{{"{key}":[{",".join(heads)}]{more}}}'.encode() + b"".join(parts.values())


def _padded(number: int) -> str:
    return f"{number:>{DIGITS}}"

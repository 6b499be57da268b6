"""How tensors become bytes and back: one module per body format, by the name that a payload pool carries."""

import importlib
from base64 import b64decode
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from loadtests.errors import PayloadError

CODECS = {
    "json-rows": "loadtests.codecs.json_rows",
    "json-columns": "loadtests.codecs.json_columns",
    "npy": "loadtests.codecs.npy",
    "raw": "loadtests.codecs.raw",
    "tensor-proto": "loadtests.codecs.tensor_proto",
    "tensor-map": "loadtests.codecs.tensor_map",
    "oip-json": "loadtests.codecs.oip_json",
    "oip-binary": "loadtests.codecs.oip_binary",
    "oip-grpc": "loadtests.codecs.oip_grpc",
}
UNNAMED = ""
"""The name of an answer's only output, in a format that does not name it."""

Sample = Mapping[str, NDArray[Any]]
"""One sample's inputs by name, each of shape (...) without the batch dimension."""


class Codec(Protocol):
    """What a module of this folder offers."""

    CONTENT_TYPE: str

    def encode(self, samples: Sequence[Sample], model: str = "") -> bytes:
        """Encode one request body that asks `model` about these samples, at least one.

        Raises:
            PayloadError: a value that the format cannot carry, or samples that cannot share a request.
        """

    def decode(self, body: bytes) -> dict[str, NDArray[Any]] | None:
        """Return the outputs in an answer by name, each of shape (rows, ...), of numbers, bool or bytes.

        An only output may have the name `UNNAMED`. None where the answer holds no such arrays.
        """

    def rows_count(self, body: bytes) -> int | None:
        """Return how many rows a request body asks about; None if of another format, or without a count."""

    def answer(self, outputs: Mapping[str, NDArray[Any]]) -> bytes:
        """Return the answer that holds these outputs, each of shape (rows, ...): what `decode` reads."""


def request_headers(codec: Codec, body: bytes) -> dict[str, str]:
    """Return the HTTP headers of a request: its content type, and what its codec's `headers` adds."""
    own = getattr(codec, "headers", None)
    return own(body) if own else {"Content-Type": codec.CONTENT_TYPE}


def stacked(samples: Sequence[Sample]) -> dict[str, NDArray[Any]]:
    """Stack samples into one array per input, of shape (rows, ...).

    Raises:
        PayloadError: they have different shapes, so that no array holds them all.
    """
    stacks = {}
    for name in samples[0]:
        arrays = [np.asarray(sample[name]) for sample in samples]
        shapes = {array.shape for array in arrays}
        if len(shapes) > 1:
            examples = " and ".join(map(str, sorted(shapes)[:2]))
            raise PayloadError(
                f"samples of {name!r} have the shapes {examples}; they cannot share a request of this format"
            )
        stacks[name] = np.stack(arrays)
    return stacks


def little_endian(array: NDArray[Any]) -> NDArray[Any]:
    """Return the same array in one piece and in the byte order that all formats here have."""
    return np.ascontiguousarray(array, array.dtype.newbyteorder("<"))


def text_of(values: Any) -> NDArray[Any] | None:
    """Convert text or bytes, or nested lists of either, to an array of bytes; None if anything is neither."""
    objects = np.asarray(values, object)
    flat = [value.encode() if isinstance(value, str) else value for value in objects.ravel().tolist()]
    if not all(isinstance(string, bytes) for string in flat):
        return None
    return np.array(flat, np.bytes_).reshape(objects.shape)


def packed_text(array: NDArray[Any]) -> bytes:
    """Write strings as the Open Inference Protocol does: each behind its length, four bytes little-endian."""
    return b"".join(len(string).to_bytes(4, "little") + string for string in array.ravel().tolist())


def unpacked_text(data: bytes, shape: Sequence[int]) -> NDArray[Any]:
    """Read what `packed_text` wrote.

    Raises:
        ValueError: there are more or fewer than the shape has.
    """
    strings, place = [], 0
    while place < len(data):
        end = place + 4 + int.from_bytes(data[place : place + 4], "little")
        if end > len(data):
            raise ValueError("a string goes on behind its end")
        strings.append(data[place + 4 : end])
        place = end
    return np.array(strings, np.bytes_).reshape(shape)


def of_values(outputs: Mapping[str, Any]) -> dict[str, NDArray[Any]] | None:
    """Convert outputs from JSON's nested lists, if each has rows of numbers, bool or strings; else None.

    `{"b64": "…"}` is a string of bytes.
    """
    arrays = {}
    for name, values in outputs.items():
        array: NDArray[Any] | None = np.asarray(values)
        if array is not None and array.dtype.kind in "UO":
            array = text_of(_with_bytes(values))
        if array is None or array.dtype.kind not in "iufbS" or not array.ndim:
            return None
        arrays[name] = array
    return arrays


def is_bytes(value: Any) -> bool:
    """Return whether JSON's value is bytes as TensorFlow Serving writes them."""
    return isinstance(value, dict) and value.keys() == {"b64"}


def _with_bytes(values: Any) -> Any:
    """Replace base64 by its bytes; raise ValueError if it is none."""
    if isinstance(values, list):
        return [_with_bytes(value) for value in values]
    return b64decode(values["b64"], validate=True) if is_bytes(values) else values


def named(answers: dict[str, NDArray[Any]] | None, names: Collection[str]) -> dict[str, NDArray[Any]] | None:
    """Return decoded outputs, with the only one of `names` for `UNNAMED`; None if the names differ."""
    if answers is not None and UNNAMED in answers and len(names) == 1:
        answers = {next(iter(names)): answers[UNNAMED]}
    return answers if answers is not None and answers.keys() == set(names) else None


@cache
def find_codec(name: str) -> Codec:
    """Return the codec called `name`.

    Raises:
        PayloadError: there is none.
    """
    if name not in CODECS:
        raise PayloadError(f"unknown codec {name!r}; allowed: {', '.join(CODECS)}")
    return cast(Codec, importlib.import_module(CODECS[name]))

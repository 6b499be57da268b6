"""How tensors become bytes and back: one module per body format, by the name that a payload pool carries."""

import importlib
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
        """Return the outputs in an answer by name, each of shape (rows, ...), of numbers or bool.

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
    found = {}
    for name in samples[0]:
        arrays = [np.asarray(sample[name]) for sample in samples]
        shapes = {array.shape for array in arrays}
        if len(shapes) > 1:
            told = " and ".join(map(str, sorted(shapes)[:2]))
            raise PayloadError(
                f"samples of {name!r} have the shapes {told}; they cannot share a request of this format"
            )
        found[name] = np.stack(arrays)
    return found


def little_endian(array: NDArray[Any]) -> NDArray[Any]:
    """Return the same array in one piece and in the byte order that all formats here have."""
    return np.ascontiguousarray(array, array.dtype.newbyteorder("<"))


def of_numbers(outputs: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]] | None:
    """Return the same outputs if each has rows of numbers or bool; else None."""
    numeric = all(array.dtype.kind in "iufb" and array.ndim for array in outputs.values())
    return outputs if numeric else None


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

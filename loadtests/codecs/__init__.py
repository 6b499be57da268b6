"""How tensors become bytes and back: one module per body format, by the name that a payload pool carries."""

import importlib
from collections.abc import Iterable
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from loadtests.errors import PayloadError

CODECS = {"json-rows": "loadtests.codecs.json_rows"}


class Codec(Protocol):
    """What a module of this folder offers."""

    CONTENT_TYPE: str

    def encode(self, samples: Iterable[NDArray[Any]]) -> list[bytes]:
        """One request body per sample, shape (...) without the batch dimension.

        Raises:
            PayloadError: a value that the format cannot carry.
        """

    def decode(self, body: bytes) -> NDArray[np.float64] | None:
        """The outputs in an answer, shape (rows, ...); None where it holds no numeric array."""

    def rows_count(self, body: bytes) -> int | None:
        """How many rows a request body asks about; None where it is not of this format."""


def find_codec(name: str) -> Codec:
    """The codec called `name`.

    Raises:
        PayloadError: there is none.
    """
    if name not in CODECS:
        raise PayloadError(f"unknown codec {name!r}; allowed: {', '.join(CODECS)}")
    return cast(Codec, importlib.import_module(CODECS[name]))

"""How tensors become bytes and back: one module per body format, by the name that a payload pool carries."""

import importlib
from collections.abc import Collection, Iterable, Mapping
from functools import cache
from typing import Any, Protocol, cast

from numpy.typing import NDArray

from loadtests.errors import PayloadError

CODECS = {"json-rows": "loadtests.codecs.json_rows"}
UNNAMED = ""
"""The name of an answer's only output, in a format that does not name it."""

Sample = Mapping[str, NDArray[Any]]
"""One sample's inputs by name, each of shape (...) without the batch dimension."""


class Codec(Protocol):
    """What a module of this folder offers."""

    CONTENT_TYPE: str

    def encode(self, samples: Iterable[Sample]) -> list[bytes]:
        """One request body per sample.

        Raises:
            PayloadError: a value that the format cannot carry.
        """

    def decode(self, body: bytes) -> dict[str, NDArray[Any]] | None:
        """The outputs in an answer by name, each of shape (rows, ...), of numbers or bool.

        An only output may have the name `UNNAMED`. None where the answer holds no such arrays.
        """

    def rows_count(self, body: bytes) -> int | None:
        """How many rows a request body asks about; None where it is not of this format."""


def named(answers: dict[str, NDArray[Any]] | None, names: Collection[str]) -> dict[str, NDArray[Any]] | None:
    """What a codec has decoded, with the only output of `names` for `UNNAMED`; None if these are others."""
    if answers is not None and UNNAMED in answers and len(names) == 1:
        answers = {next(iter(names)): answers[UNNAMED]}
    return answers if answers is not None and answers.keys() == set(names) else None


@cache
def find_codec(name: str) -> Codec:
    """The codec called `name`.

    Raises:
        PayloadError: there is none.
    """
    if name not in CODECS:
        raise PayloadError(f"unknown codec {name!r}; allowed: {', '.join(CODECS)}")
    return cast(Codec, importlib.import_module(CODECS[name]))

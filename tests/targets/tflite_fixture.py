"""What the tests of the TensorFlow Lite target share: models, and a reader of flatbuffers on its own feet."""

import dataclasses
import struct

import numpy as np

from models.digits_cnn import MODEL
from models.spec import ModelSpec, Samples, TensorSpec


def quiet(*_):
    pass


def forbidden():
    raise AssertionError("an export looked at the held-out samples")


def with_training(inputs: np.ndarray) -> ModelSpec:
    """digits_cnn as it is, calibrated on `inputs`."""
    samples = Samples(inputs.astype(np.float32), np.zeros(len(inputs), np.int64))
    return dataclasses.replace(MODEL, train_samples=lambda: samples)


def computing(function, shape: tuple[int, ...]) -> ModelSpec:
    """A model that computes `function` (tensor to tensor of the same shape), without weights."""
    inputs = np.random.default_rng(0).uniform(0.1, 1, (20, *shape)).astype(np.float32)
    return dataclasses.replace(
        with_training(inputs),
        name="tiny",
        labels=(),
        inputs=(TensorSpec("x", "float32", (None, *shape)),),
        outputs=(TensorSpec("y", "float32", (None, *shape)),),
        build_keras=lambda _state: lambda x, **_: function(x),
    )


class Table:
    """A flatbuffer table read from the format's description alone: fields by number, nothing generated."""

    def __init__(self, content: bytes, position: int):
        self.content, self.position = content, position

    @classmethod
    def root(cls, content: bytes) -> "Table":
        return cls(content, struct.unpack_from("<I", content, 0)[0])

    def _place(self, field: int) -> int | None:
        vtable = self.position - struct.unpack_from("<i", self.content, self.position)[0]
        (size,) = struct.unpack_from("<H", self.content, vtable)
        entry = 4 + 2 * field
        if entry >= size:
            return None
        (offset,) = struct.unpack_from("<H", self.content, vtable + entry)
        return self.position + offset if offset else None

    def _follow(self, place: int) -> int:
        return place + struct.unpack_from("<I", self.content, place)[0]

    def has(self, field: int) -> bool:
        return self._place(field) is not None

    def byte(self, field: int) -> int:
        return self.content[self._place(field)]

    def number(self, field: int) -> int:
        return struct.unpack_from("<I", self.content, self._place(field))[0]

    def table(self, field: int) -> "Table":
        return Table(self.content, self._follow(self._place(field)))

    def start(self, field: int) -> int:
        """Where the first element of a vector lies."""
        return self._follow(self._place(field)) + 4

    def count(self, field: int) -> int:
        return struct.unpack_from("<I", self.content, self.start(field) - 4)[0]

    def bytes(self, field: int) -> bytes:
        return self.content[self.start(field) : self.start(field) + self.count(field)]

    def text(self, field: int) -> str:
        return self.bytes(field).decode()

    def floats(self, field: int) -> list[float]:
        return list(struct.unpack_from(f"<{self.count(field)}f", self.content, self.start(field)))

    def tables(self, field: int) -> list["Table"]:
        first = self.start(field)
        return [Table(self.content, self._follow(first + 4 * n)) for n in range(self.count(field))]

"""A tensor's bytes alone, in C's order and little-endian; several tensors one after the other.

The server knows dtypes and shapes from the model's signature, and how many rows there are from the length. So
it is for models all of whose dimensions but the first are fixed. The answer is NumPy's file, which says its
dtype and shape, because a client need not know the signature.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from numpy.typing import NDArray

from loadtests.codecs import Sample, little_endian, npy, stacked

CONTENT_TYPE: Final = "application/octet-stream"


def encode(samples: Sequence[Sample], model: str = "") -> bytes:  # noqa: ARG001 - the URL names the model
    """Encode samples as one request body.

    Raises:
        PayloadError: samples of different shapes.
    """
    return b"".join(little_endian(array).tobytes() for array in stacked(samples).values())


def decode(body: bytes) -> dict[str, NDArray[Any]] | None:
    """Return the outputs, each of shape (rows, ...); None where the body is no file of NumPy's."""
    return npy.decode(body)


def rows_count(body: bytes) -> int | None:  # noqa: ARG001 - only the signature says how long a row is
    """Return None: the body does not say."""
    return None


def answer(outputs: Mapping[str, NDArray[Any]]) -> bytes:
    """Write outputs, each of shape (rows, ...), as NumPy's file."""
    return npy.answer(outputs)

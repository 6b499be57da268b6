"""TorchServe over gRPC: `PredictionsRequest`, a map from input names to bytes, each of them a `.npy`.

A `.npy` is raw tensor bytes with their dtype and shape in front, which our handler reads without a copy. The
answer's bytes are NumPy's file too, see `npy`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from numpy.typing import NDArray

from loadtests.codecs import Sample, npy, stacked
from loadtests.codecs.versions import split_version
from loadtests.protos import message

CONTENT_TYPE: Final = "application/grpc"
REQUEST: Final = message("org.pytorch.serve.grpc.inference.PredictionsRequest")
RESPONSE: Final = message("org.pytorch.serve.grpc.inference.PredictionResponse")


def encode(samples: Sequence[Sample], model: str = "") -> bytes:
    """Encode samples as one request to `model`, or to its version after `/`.

    Raises:
        PayloadError: samples of different shapes.
    """
    name, _, version = split_version(model)
    request = REQUEST(model_name=name, model_version=version)
    for name, array in stacked(samples).items():
        request.input[name] = npy.pack(array)
    body: bytes = request.SerializeToString(deterministic=True)
    return body


def decode(body: bytes) -> dict[str, NDArray[Any]] | None:
    """Return the outputs, each of shape (rows, ...); None where the prediction is no file of NumPy's."""
    try:
        return npy.decode(RESPONSE.FromString(body).prediction)
    except DecodeError:
        return None


def rows_count(body: bytes) -> int | None:
    """Return how many rows a request asks about; None where it is none."""
    try:
        return npy.rows_count(next(iter(REQUEST.FromString(body).input.values())))
    except (DecodeError, StopIteration):
        return None


def answer(outputs: Mapping[str, NDArray[Any]]) -> bytes:
    """Write outputs, each of shape (rows, ...), as the handler does."""
    body: bytes = RESPONSE(prediction=npy.answer(outputs)).SerializeToString()
    return body

"""NumPy's own files: a `.npy` for one tensor, a `.npz` (not compressed) for several, in and out.

A `.npy` is the tensor's raw bytes behind a short head that says its dtype and shape, so that its reader
needs nothing else and copies nothing.
"""

import io
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from loadtests.codecs import UNNAMED, Sample, little_endian, stacked

CONTENT_TYPE: Final = "application/x-npy"
MAGIC: Final = b"\x93NUMPY"
KINDS: Final = "iufb"
LARGEST_BYTES: Final = 2**30


def encode(samples: Sequence[Sample], model: str = "") -> bytes:  # noqa: ARG001 - the URL names the model
    """Encode samples as one request body.

    Raises:
        PayloadError: samples of different shapes.
    """
    return answer(stacked(samples))


def decode(body: bytes) -> dict[str, NDArray[Any]] | None:
    """Return the outputs, each of shape (rows, ...); None where the body is no such file."""
    try:
        if body.startswith(MAGIC):
            arrays = {UNNAMED: read(body)}
        else:
            with np.load(io.BytesIO(body), allow_pickle=False) as archive:
                _require_size(archive.zip)
                arrays = {name: archive[name] for name in archive.files}
    except Exception:  # noqa: BLE001 - a damaged file fails in as many ways as there are to damage one
        return None
    for array in arrays.values():
        # What is no .npy in a .npz comes as its bytes.
        if not isinstance(array, np.ndarray) or array.dtype.kind not in KINDS or not array.ndim:
            return None
    return arrays


def _require_size(archive: zipfile.ZipFile) -> None:
    """Raise ValueError for a small file that would become a large one."""
    if sum(info.file_size for info in archive.infolist()) > LARGEST_BYTES:
        raise ValueError(f"it unpacks to more than {LARGEST_BYTES} bytes")


def rows_count(body: bytes) -> int | None:
    """Return how many rows a request body asks about; None where it is no such file."""
    arrays = decode(body)
    return len(next(iter(arrays.values()))) if arrays else None


def answer(outputs: Mapping[str, NDArray[Any]]) -> bytes:
    """Write outputs, each of shape (rows, ...): one is a `.npy`, several are a `.npz`."""
    if len(outputs) == 1:
        return pack(next(iter(outputs.values())))
    file = io.BytesIO()
    np.savez(file, **{name: little_endian(array) for name, array in outputs.items()})  # type: ignore[arg-type]
    return file.getvalue()


def pack(array: NDArray[Any]) -> bytes:
    """Pack one tensor as a `.npy`."""
    file = io.BytesIO()
    np.lib.format.write_array(file, little_endian(array), version=(1, 0), allow_pickle=False)
    return file.getvalue()


def read(body: bytes) -> NDArray[Any]:
    """Read the tensor in a `.npy`.

    Raises:
        ValueError, EOFError: it is none.
    """
    tensor: NDArray[Any] = np.lib.format.read_array(io.BytesIO(body), allow_pickle=False)
    return tensor

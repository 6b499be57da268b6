"""Reading a safetensors file that may come from anywhere: every claim of its header is checked before use.

Eight bytes, little-endian: the length of a JSON header, which maps each tensor's name to its dtype, its shape
and where its bytes begin and end behind the header. https://github.com/huggingface/safetensors
"""

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

LENGTH_BYTES = 8
# The limit of the format's own library.
HEADER_LIMIT_BYTES = 100_000_000
# NumPy's limit, which is the lowest of all that get these tensors.
DIMENSIONS_LIMIT = 64
SIZE_LIMIT_BYTES = 2**63 - 1
SHOWN_CHARACTERS = 80
METADATA = "__metadata__"
DTYPES = {
    **{"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"},
    **{"I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "|i1"},
    **{"U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "|u1", "BOOL": "|b1"},
}


class CheckpointError(ValueError):
    """The bytes are no safetensors file that can be read; says in a few words why.

    `missing`: there is no such file.
    """

    missing = False


def _shown(value: object) -> str:
    """Shorten a file's value to what a message can hold."""
    text = repr(value)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"


@dataclass(frozen=True)
class _Entry:
    """One tensor as the header describes it; its bytes are `begin` to `end` behind the header."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def read_tensors(content: bytes) -> dict[str, npt.NDArray[Any]]:
    """Read all tensors of a safetensors file, by name: read-only views of `content`, BF16 widened to float32.

    Raises:
        CheckpointError: it is none, or one with another type of number than `DTYPES`.
    """
    header, data_start = _header(content)
    entries = [_entry(name, entry) for name, entry in header.items() if name != METADATA]
    _require_covered(entries, len(content) - data_start)
    return {entry.name: _tensor(content, data_start, entry) for entry in entries}


def _header(content: bytes) -> tuple[dict[str, Any], int]:
    """Read the header, and return it with where it ends."""
    length = int.from_bytes(content[:LENGTH_BYTES], "little")
    end = LENGTH_BYTES + length
    if len(content) < LENGTH_BYTES or length > HEADER_LIMIT_BYTES or end > len(content):
        raise CheckpointError(f"a header of {length} bytes does not fit into {len(content)} bytes")
    try:
        header = json.loads(content[LENGTH_BYTES:end].decode(), object_pairs_hook=_without_duplicates)
    except CheckpointError:
        raise
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"its header is no JSON: {str(error)[:SHOWN_CHARACTERS]}") from error
    if not isinstance(header, dict):
        raise CheckpointError("its header is no JSON object")
    return header, end


def _without_duplicates(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    header = dict(pairs)
    if len(header) != len(pairs):
        ((twice, _),) = Counter(name for name, _ in pairs).most_common(1)
        raise CheckpointError(f"its header has {_shown(twice)} twice")
    return header


def _entry(name: str, entry: Any) -> _Entry:
    label = _shown(name)
    if not isinstance(entry, Mapping) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise CheckpointError(f"tensor {label} does not have just a dtype, a shape and data_offsets")
    if not isinstance(entry["dtype"], str) or entry["dtype"] not in DTYPES:
        raise CheckpointError(
            f"tensor {label} has dtype {_shown(entry['dtype'])}; allowed: {', '.join(DTYPES)}"
        )
    shape, offsets = (
        _sizes(label, "shape", entry["shape"]),
        _sizes(label, "data_offsets", entry["data_offsets"]),
    )
    if len(shape) > DIMENSIONS_LIMIT:
        raise CheckpointError(f"tensor {label} has {len(shape)} dimensions; allowed: {DIMENSIONS_LIMIT}")
    itemsize = np.dtype(DTYPES[entry["dtype"]]).itemsize
    size = math.prod(shape) * itemsize
    # NumPy multiplies all dimensions but the empty ones.
    if math.prod(filter(None, shape)) * itemsize > SIZE_LIMIT_BYTES:
        raise CheckpointError(f"tensor {label} has a shape beyond what can be addressed")
    if len(offsets) != 2 or offsets[1] - offsets[0] != size:  # noqa: PLR2004 - begin and end
        raise CheckpointError(f"tensor {label} needs {size} bytes, its data_offsets are {list(offsets)}")
    return _Entry(name, entry["dtype"], shape, *offsets)


def _sizes(label: str, what: str, value: Any) -> tuple[int, ...]:
    whole = isinstance(value, list) and all(type(n) is int and 0 <= n <= SIZE_LIMIT_BYTES for n in value)
    if not whole:
        raise CheckpointError(f"tensor {label} has {what} {_shown(value)}, which are no sizes")
    return tuple(value)


def _require_covered(entries: Sequence[_Entry], size: int) -> None:
    """Require that every byte belongs to just one tensor, as the format demands: no overlap, no gap."""
    position = 0
    for entry in sorted(entries, key=lambda entry: (entry.begin, entry.end)):
        if entry.begin != position:
            raise CheckpointError(f"tensor {_shown(entry.name)} begins at {entry.begin}, expected {position}")
        position = entry.end
    if position != size:
        raise CheckpointError(f"its tensors need {position} bytes, the file holds {size}")


def _tensor(content: bytes, data_start: int, entry: _Entry) -> npt.NDArray[Any]:
    dtype = np.dtype(DTYPES[entry.dtype])
    if (
        entry.dtype == "BOOL"
        and max(content[data_start + entry.begin : data_start + entry.end], default=0) > 1
    ):
        raise CheckpointError(f"tensor {_shown(entry.name)} is BOOL and holds other bytes than 0 and 1")
    count = math.prod(entry.shape)
    flat = np.frombuffer(content, dtype, count, data_start + entry.begin) if count else np.empty(0, dtype)
    if entry.dtype == "BF16":
        # A bfloat16 is the upper half of a float32.
        flat = (flat.astype(np.uint32) << 16).view(np.float32)
    return flat.reshape(entry.shape)

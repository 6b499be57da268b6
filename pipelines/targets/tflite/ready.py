"""Flatbuffers that a road without a twin made itself: taken over with the model's own names."""

import json
from pathlib import Path

from models.spec import ModelSpec
from pipelines.targets.tflite import flatbuffer
from pipelines.targets.tflite.quantise import FULL, RefusedError, require_integers

REFUSED = "refused.json"


def is_converted(written: Path) -> bool:
    """Return whether a folder holds flatbuffers by precision, not a SavedModel."""
    return (written / REFUSED).is_file()


def converted(spec: ModelSpec, written: Path, precision: str) -> bytes:
    """Read the flatbuffer of a precision, with the model's names in its signature instead of `args_0`, ….

    Raises:
        RefusedError: the road could not write it, or left floating point where there should be integers.
    """
    refused = json.loads((written / REFUSED).read_text())
    if precision in refused:
        raise RefusedError(refused[precision])
    content = (written / f"{precision}.tflite").read_bytes()
    if precision in FULL:
        require_integers(content)
    model = flatbuffer.read(content)
    flatbuffer.rename(
        model, [tensor.name for tensor in spec.inputs], [tensor.name for tensor in spec.outputs]
    )
    return flatbuffer.pack(model)

"""Whether a SavedModel is computed by XLA, for which TensorFlow Serving needs a flag."""

import mmap
from pathlib import Path

OPERATION = b"XlaCallModule"
FLAG = "xla_cpu_compilation_enabled"
NOTE = "XLA compiles the model once for each shape of a request, those of its warm-up before it is ready"


def is_compiled(model: Path) -> bool:
    """Return whether any version in the folder `model` holds a program for XLA."""
    return any(_holds(file) for file in sorted(model.glob("*/saved_model.pb")))


def _holds(file: Path) -> bool:
    if not file.stat().st_size:
        return False
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(OPERATION) >= 0

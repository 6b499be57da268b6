"""What a file or folder is that was given where a model's name or its Python file is meant."""

import shlex
import zipfile
from pathlib import Path

from models.checkpoint import CheckpointError
from models.stored import EXPORTED, HDF5, PICKLE, TORCHSCRIPT, files_of_checkpoint, kind_of

TFLITE = b"TFL3"
HEAD_BYTES = 64
WEIGHTS = "weights of PyTorch"


def what_to_type(path: Path) -> str | None:
    """What `path` is, by its content, and what to do with it; None if nothing is there, or any folder."""
    kind = _kind(path) if path.exists() else None
    if kind is None:
        return None
    if kind in (WEIGHTS, TORCHSCRIPT, EXPORTED):
        said = f"tandem init my_model.py --from {shlex.quote(str(path))}"
        return f"it is {kind}; a model is a Python file that says what goes in and out: `{said}` writes one"
    return f"it is {kind}; a model is a Python file that says what goes in and out of a PyTorch module"


def _kind(path: Path) -> str | None:
    if path.is_dir():
        return "a SavedModel" if (path / "saved_model.pb").is_file() else _kind_of_folder(path)
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if zipfile.is_zipfile(path):
        try:
            found = kind_of(path.read_bytes())
        except CheckpointError:
            return "a damaged zip file"
        return WEIGHTS if found == "weights" else found
    if head.startswith(HDF5):
        return "a Keras model"
    if head[4:8] == TFLITE:
        return "a TFLite model"
    weights = head[8:9] == b"{" or head.startswith(PICKLE)
    return WEIGHTS if weights else "no file that is known here"


def _kind_of_folder(path: Path) -> str | None:
    try:
        files_of_checkpoint(path)
    except CheckpointError:
        return None
    return WEIGHTS

"""What a file or folder is that was given where a model's name or its Python file is meant."""

import shlex
import zipfile
from pathlib import Path

from models.checkpoint import CheckpointError
from models.given import Kind
from models.stored import (
    ARCHIVE,
    EXPORTED,
    HDF5,
    KERAS,
    PICKLE,
    TORCHSCRIPT,
    files_of_checkpoint,
    kind_of_file,
)

TFLITE = b"TFL3"
HEAD_BYTES = 64
WEIGHTS = "weights of PyTorch"
SAVED_MODEL, TFLITE_MODEL, ONNX_MODEL = "a SavedModel", "a TFLite model", "an ONNX model"
# An ONNX file begins with the version of its format, and with its producer, its domain or its graph after it.
ONNX_VERSIONS, ONNX_FIELDS = range(3, 32), (0x12, 0x1A, 0x22, 0x28, 0x32, 0x3A, 0x42)
KINDS: dict[str, Kind] = {
    TORCHSCRIPT: "torchscript",
    ARCHIVE: "mar",
    EXPORTED: "pt2",
    SAVED_MODEL: "saved_model",
    TFLITE_MODEL: "tflite",
    ONNX_MODEL: "onnx",
}
"""What `tandem import` takes, by what it is called."""


def what_to_type(path: Path) -> str | None:
    """Return what `path` is, by content, and what to do with it; None if it is missing or any folder."""
    kind = kind_of_path(path)
    if kind is None:
        return None
    argument = shlex.quote(str(path))
    option = KINDS.get(kind, "").replace("_", "-")
    taken = f"`tandem import my_model --{option} {argument}` takes it as it is"
    written = f"`tandem init my_model.py --from {argument}` writes a model file for it"
    if kind in (TORCHSCRIPT, EXPORTED):
        return f"it is {kind}; {taken}, {written}"
    if option:
        return f"it is {kind}; {taken}"
    if kind in (WEIGHTS, KERAS):
        return f"it is {kind}; a model is a Python file that says what goes in and out: {written}"
    return f"it is {kind}; a model is a Python file that says what goes in and out of a PyTorch module"


def kind_of_path(path: Path) -> str | None:  # noqa: PLR0911 - one per kind
    """Return what a file or folder is, by content; None if it is missing or any folder."""
    if not path.exists():
        return None
    if path.is_dir():
        return SAVED_MODEL if (path / "saved_model.pb").is_file() else _kind_of_folder(path)
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if head[4:8] == TFLITE:  # which may have labels in a zip file at its end
        return TFLITE_MODEL
    if zipfile.is_zipfile(path):
        try:
            content_kind = kind_of_file(path)
        except CheckpointError:
            return "a damaged zip file"
        return WEIGHTS if content_kind == "weights" else content_kind
    if head.startswith(HDF5):
        return KERAS
    weights = head[8:9] == b"{" or head.startswith(PICKLE)
    if not weights and _is_onnx(head):
        return ONNX_MODEL
    return WEIGHTS if weights else "no file that is known here"


def _is_onnx(head: bytes) -> bool:
    return len(head) > 2 and head[0] == 0x08 and head[1] in ONNX_VERSIONS and head[2] in ONNX_FIELDS  # noqa: PLR2004


def _kind_of_folder(path: Path) -> str | None:
    try:
        files_of_checkpoint(path)
    except CheckpointError:
        return None
    return WEIGHTS

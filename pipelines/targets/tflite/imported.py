"""Imported flatbuffers in the folder of TensorFlow Lite."""

from pathlib import Path

from models.given import GivenFile
from models.spec import ModelSpec
from pipelines.files.atomic import copy_file
from pipelines.targets.exported import Exported
from pipelines.targets.imports import AS_IT_IS, RENAMED, names_of, path_of, renames


def place(spec: ModelSpec, file: GivenFile, folder: Path) -> list[Exported]:
    """Copy the flatbuffer; give its tensors the model's names where a runtime goes by them."""
    from pipelines.targets.tflite import flatbuffer

    path = folder / f"{spec.name}_{file.precision}.tflite"
    copy_file(path_of(spec, file), path)
    if not renames(file):
        return [Exported(path.name, "tflite", file.precision, 0.0, road=AS_IT_IS)]
    model = flatbuffer.read(path.read_bytes())
    flatbuffer.rename_all(model, names_of(file.inputs), names_of(file.outputs))
    path.write_bytes(flatbuffer.pack(model))
    return [Exported(path.name, "tflite", file.precision, 0.0, road=RENAMED)]

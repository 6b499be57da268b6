"""Imported SavedModels in TensorFlow Serving's folder."""

import os
import shutil
from pathlib import Path

from models.given import GivenFile
from models.spec import ModelSpec
from pipelines.files.atomic import disk_error
from pipelines.targets.exported import Exported
from pipelines.targets.imports import AS_IT_IS, WARMED, path_of


def place(spec: ModelSpec, file: GivenFile, folder: Path) -> list[Exported]:
    """Copy the SavedModel; add records to warm up with where it has none."""
    from pipelines.targets.tfserving.export import VERSION, WARMUP, write_warmup

    version = folder / spec.name / VERSION
    _copy_folder(path_of(spec, file), version)
    road = AS_IT_IS
    if not (version / WARMUP).exists():
        write_warmup(spec, version)
        road = WARMED
    return [Exported(f"{spec.name}/{VERSION}", "saved-model", file.precision, 0.0, road=road)]


def _copy_folder(source: Path, target: Path) -> None:
    """Every file of it; TensorFlow writes a folder for assets also where there are none."""
    try:
        shutil.copytree(source, target, copy_function=shutil.copyfile)
        for folder, _, _ in os.walk(target, topdown=False):
            if not any(Path(folder).iterdir()):
                Path(folder).rmdir()
    except OSError as error:
        raise disk_error(target, error) from error

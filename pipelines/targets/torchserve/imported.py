"""Imported model archives and TorchScript files in TorchServe's folder."""

from pathlib import Path
from tempfile import TemporaryDirectory

from models.given import GivenFile
from models.spec import ModelSpec
from pipelines.files.atomic import copy_file
from pipelines.targets.exported import Exported
from pipelines.targets.imports import AS_IT_IS, PACKED, RENAMED, given_of, path_of, renames
from pipelines.targets.torchserve.archive import signature_in, unpack
from pipelines.targets.torchserve.export import write_archive


def place(spec: ModelSpec, file: GivenFile, folder: Path) -> list[Exported]:
    """Write the archive, and the program beside it where that was imported."""
    archive = folder / f"{spec.name}.mar"
    if file.kind == "mar":
        return [_archive(spec, file, archive)]
    script = folder / f"{spec.name}.pt"
    copy_file(path_of(spec, file), script)
    written = [Exported(script.name, "torchscript", file.precision, 0.0, road=AS_IT_IS)]
    if archive.exists():
        return written
    write_archive(spec, script, archive)
    return [*written, Exported(archive.name, "torchserve-archive", file.precision, 0.0, road=PACKED)]


def _archive(spec: ModelSpec, file: GivenFile, archive: Path) -> Exported:
    """Copy the archive; pack it anew where only its signature knows its tensors by other names."""
    given = given_of(spec)
    if file.program and renames(file) and _goes_by_its_signature(given.path_of(file)):
        write_archive(spec, given.folder / file.program, archive)
        return Exported(archive.name, "torchserve-archive", file.precision, 0.0, road=RENAMED)
    copy_file(given.path_of(file), archive)
    return Exported(archive.name, "torchserve-archive", file.precision, 0.0, road=AS_IT_IS)


def _goes_by_its_signature(archive: Path) -> bool:
    with TemporaryDirectory(prefix="tandem-mar-") as folder:
        return signature_in(Path(folder), unpack(archive, Path(folder))) is not None

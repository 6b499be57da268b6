"""Unpacking a model archive (.mar, a zip file) that may come from anywhere, before any of it is executed."""

import json
import shutil
import stat
import struct
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import IO, Any

from pipelines.errors import GateError
from pipelines.files.atomic import disk_error
from pipelines.files.regular import CHUNK_BYTES, open_regular, read_regular
from pipelines.targets.torchserve.export import HANDLER, SIGNATURE_NAME

MANIFEST = "MAR-INF/MANIFEST.json"
MANIFEST_LIMIT_BYTES = 2**20
ENTRIES_LIMIT = 10_000
# Weights hardly shrink: what grows more than this was made to fill a disk.
GROWTH_LIMIT = 20
NAME_LIMIT_BYTES = 255
PATH_LIMIT = 1000
SMALL_BYTES = 100 * 2**20
DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, struct.error, NotImplementedError, ValueError)
"""What `zipfile` raises for a damaged file."""
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
# Signature, 4 fields that do not matter here, CRC, packed and unpacked size, lengths of name and extra field.
LOCAL_HEADER = struct.Struct("<4s10xLLLHH")
HAS_DESCRIPTOR, ENCRYPTED = 0x08, 0x01
DESCRIPTOR_BYTES = (12, 16, 20, 24)
ZIP64 = 2**32 - 1
SHOWN_CHARACTERS = 200
# What the archive's manifest names of its own files.
NAMED_FILES = ("handler", "serializedFile", "modelFile")


def unpack(path: Path, folder: Path) -> dict[str, Any]:
    """Unpack `path` into the empty `folder`; the archive's own manifest, whose files are all inside.

    Raises:
        GateError: it is no model archive, or one made to leave the folder, to fill the disk, or to be read
            differently by TorchServe, which looks at the entries and not at the directory at the end.
        MachineError: the disk is full.
    """
    try:
        with open_regular(path) as file, zipfile.ZipFile(file) as archive:
            infos = archive.infolist()
            _check_names(infos)
            _check_sizes(infos, path.stat().st_size)
            _check_entries(file, infos, archive.start_dir)
            for info in infos:
                _extract(archive, info, folder)
    except DAMAGED as error:
        raise GateError(f"{path} is not a model archive: {error}") from error
    return _manifest(path, folder, [info.filename for info in infos if not info.is_dir()])


def signature_in(folder: Path, manifest: dict[str, Any]) -> dict[str, Any] | None:
    """Return what an unpacked archive says of its tensors if our handler answers by it, else None."""
    file = folder / SIGNATURE_NAME
    if not file.is_file() or (folder / manifest["model"]["handler"]).read_bytes() != HANDLER.read_bytes():
        return None
    signature: dict[str, Any] = json.loads(file.read_text())
    return signature


def require_plain(path: Path) -> None:
    """Look at a zip file of any kind, and unpack nothing.

    Raises:
        GateError: it is damaged, or has entries that leave a folder, come twice, are no files, fill a disk.
    """
    try:
        with open_regular(path) as file, zipfile.ZipFile(file) as archive:
            infos = archive.infolist()
            _check_names(infos)
            _check_sizes(infos, path.stat().st_size)
    except DAMAGED as error:
        raise GateError(f"it is no archive to take in: {error}") from error


def _check_names(infos: Sequence[zipfile.ZipInfo]) -> None:
    """Raise ValueError for entries that leave the folder, come twice, or are no files and folders."""
    if len(infos) > ENTRIES_LIMIT:
        raise ValueError(f"it has {len(infos)} entries; allowed: {ENTRIES_LIMIT}")
    names: set[str] = set()
    for info in infos:
        name = info.filename.removesuffix("/")
        parts = PurePosixPath(name).parts
        if not parts or name != "/".join(parts) or ".." in parts or "\\" in name or not name.isprintable():
            raise ValueError(f"its entry {info.filename!r} is no plain path inside the archive")
        if max(map(len, name.encode().split(b"/"))) > NAME_LIMIT_BYTES or len(name) > PATH_LIMIT:
            raise ValueError(f"its entry {name[:SHOWN_CHARACTERS]!r}… has a name longer than a file may have")
        if name in names:
            raise ValueError(f"its entry {name!r} is there twice")
        if stat.S_IFMT(info.external_attr >> 16) not in {0, stat.S_IFREG, stat.S_IFDIR}:
            raise ValueError(f"its entry {name!r} is neither a file nor a folder")
        names.add(name)
    files = {info.filename for info in infos if not info.is_dir()}
    for name in names:
        if any(parent.as_posix() in files for parent in PurePosixPath(name).parents):
            raise ValueError(f"its entry {name!r} lies below a file")


def _check_sizes(infos: Sequence[zipfile.ZipInfo], packed: int) -> None:
    """Raise ValueError for what would fill the disk, or is packed in a way that TorchServe cannot read."""
    unpacked, limit = sum(info.file_size for info in infos), max(SMALL_BYTES, GROWTH_LIMIT * packed)
    if unpacked > limit:
        raise ValueError(f"its {packed} bytes unpack to {unpacked}; allowed: {limit}")
    for info in infos:
        if info.flag_bits & ENCRYPTED or info.compress_type not in METHODS:
            raise ValueError(
                f"its entry {info.filename!r} is encrypted or packed by another method than deflate"
            )


def _check_entries(file: IO[bytes], infos: Sequence[zipfile.ZipInfo], directory: int) -> None:
    """Raise ValueError unless the entries themselves agree with the directory at the end."""
    position = 0
    for info in sorted(infos, key=lambda info: info.header_offset):
        if info.header_offset != position:
            raise ValueError(f"bytes {position} to {info.header_offset} belong to no entry of its directory")
        position = _end_of(file, info, directory)
    if position != directory:
        raise ValueError(f"bytes {position} to {directory} belong to no entry of its directory")


def _end_of(file: IO[bytes], info: zipfile.ZipInfo, directory: int) -> int:
    """Return where an entry ends, including a descriptor behind its data."""
    file.seek(info.header_offset)
    signature, *fields, name_length, extra_length = LOCAL_HEADER.unpack(file.read(LOCAL_HEADER.size))
    # Without a descriptor the entry itself has the sizes, save where they need 64 bits.
    described = info.flag_bits & HAS_DESCRIPTOR
    meant = [info.CRC, info.compress_size, info.file_size]
    if signature != b"PK\3\4" or not (
        described or all(a in {b, ZIP64} for a, b in zip(fields, meant, strict=True))
    ):
        raise ValueError(f"its entry {info.filename!r} is not what its directory says")
    end: int = info.header_offset + LOCAL_HEADER.size + name_length + extra_length + info.compress_size
    if not described:
        return end
    file.seek(end)
    after = file.read(max(DESCRIPTOR_BYTES) + 4)
    sizes = [n for n in DESCRIPTOR_BYTES if after[n : n + 2] == b"PK" or end + n == directory]
    return end + (sizes[0] if sizes else 0)


def _extract(archive: zipfile.ZipFile, info: zipfile.ZipInfo, folder: Path) -> None:
    path = folder / info.filename
    try:
        (path if info.is_dir() else path.parent).mkdir(parents=True, exist_ok=True)
        if not info.is_dir():
            with path.open("xb") as file, archive.open(info) as source:
                shutil.copyfileobj(source, file, CHUNK_BYTES)
    except OSError as error:
        raise disk_error(path, error) from error


def _manifest(path: Path, folder: Path, names: Sequence[str]) -> dict[str, Any]:
    """Read the manifest of an unpacked archive; its handler and each file that it names are in `names`."""
    try:
        manifest: dict[str, Any] = json.loads(read_regular(folder / MANIFEST, MANIFEST_LIMIT_BYTES))
    except GateError as error:
        raise GateError(
            f"{path} is not a model archive: its {MANIFEST} is no file, or over {MANIFEST_LIMIT_BYTES} bytes"
        ) from error
    except FileNotFoundError as error:
        raise GateError(f"{path} is not a model archive: it has no {MANIFEST}") from error
    except (ValueError, RecursionError) as error:
        raise GateError(f"the {MANIFEST} of {path} is no JSON: {str(error)[:SHOWN_CHARACTERS]}") from error
    model = manifest.get("model") if isinstance(manifest, dict) else None
    if not isinstance(model, dict) or "handler" not in model:
        raise GateError(f"the {MANIFEST} of {path} names no handler")
    for key in NAMED_FILES:
        if key in model and model[key] not in names:
            quoted = repr(model[key])[:SHOWN_CHARACTERS]
            raise GateError(
                f"the {MANIFEST} of {path} names the {key} {quoted}, which is no file of the archive"
            )
    return manifest

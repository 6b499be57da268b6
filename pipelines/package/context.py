"""A build context as one tar archive, the same bytes for the same files."""

import hashlib
import io
import os
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, cast

from packaging.utils import canonicalize_name

from pipelines.errors import GateError
from pipelines.files.atomic import disk_error
from pipelines.files.regular import open_regular
from pipelines.package.recipes import TORCH_FOLDER, Content, Recipe
from pipelines.package.wheels import PIP

# A fixed time: the engine's cache must not see a change where only a checkout is newer.
MTIME = 1_000_000_000
# What is in the stage that all images with PyTorch have alike: no more than importing it takes.
TORCH = frozenset({"torch", "numpy", "typing-extensions"})


@contextmanager
def packed(recipe: Recipe, wheels: Iterable[Path]) -> Iterator[IO[bytes]]:
    """Pack the context of `recipe` into an open, unnamed tar archive that is gone after the block.

    Raises:
        GateError: an artifact changed after it was verified.
        MachineError: the disk is full.
    """
    try:
        file = TemporaryFile(prefix="tandem-context-")  # noqa: SIM115 - closed by the `with` below
    except OSError as error:
        raise disk_error("the build context", error) from error
    with file:
        try:
            _pack(file, entries(recipe, wheels), recipe.proven)
            file.seek(0)
        except OSError as error:
            raise disk_error("the build context", error) from error
        yield file


def entries(recipe: Recipe, wheels: Iterable[Path]) -> dict[str, Content]:
    """Return everything in the context, by path."""
    files, found = dict(recipe.files), list(wheels)
    shared = TORCH if any(name.startswith(TORCH_FOLDER) for name in files) else frozenset[str]()
    for folder, of_shared in ((TORCH_FOLDER, True), ("wheels/", False)):
        pins = {name: version for name, version in recipe.pins.items() if (name in shared) == of_shared}
        if pins:
            lines = "".join(f"{name}=={version}\n" for name, version in pins.items())
            files[f"{folder}requirements.txt"] = lines.encode()
            # What installs them goes wherever something is installed.
            files |= {
                f"{folder}{path.name}": path
                for path in found
                if _name_of(path) == PIP or (_name_of(path) in shared) == of_shared
            }
    return files


def _name_of(wheel: Path) -> str:
    return canonicalize_name(wheel.name.partition("-")[0])


def _pack(file: IO[bytes], files: Mapping[str, Content], proven: Mapping[str, str]) -> None:
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name in _folders(files):
            archive.addfile(_info(name, tarfile.DIRTYPE, 0o755))
        for name, content in sorted(files.items()):
            info = _info(name, tarfile.REGTYPE, 0o755 if name.endswith(".sh") else 0o644)
            if isinstance(content, Path):
                _add(archive, info, content, proven.get(name))
            else:
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))


class _Hashing:
    """A file that is hashed while it is read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.digest = hashlib.sha256()

    def read(self, size: int) -> bytes:
        """Read from the file, adding what was read to its digest."""
        content = self._file.read(size)
        self.digest.update(content)
        return content


def _add(archive: tarfile.TarFile, info: tarfile.TarInfo, path: Path, proven: str | None) -> None:
    with path.open("rb") if proven is None else open_regular(path) as file:
        info.size, source = os.fstat(file.fileno()).st_size, _Hashing(file)
        archive.addfile(info, cast("IO[bytes]", source))
    if proven not in {None, source.digest.hexdigest()}:
        raise GateError(f"{path} changed after it was verified: nothing unverified is packed; run again")


def _folders(names: Iterable[str]) -> list[str]:
    """List every folder above `names`, outer ones first, so that all get ordinary permissions."""
    return sorted({parent.as_posix() for name in names for parent in Path(name).parents} - {"."})


def _info(name: str, kind: bytes, mode: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.mode, info.mtime = kind, mode, MTIME
    return info

"""A build context as one tar archive, the same bytes for the same files."""

import io
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

from pipelines.files import disk_error
from pipelines.images.recipes import Content, Recipe

# A fixed time: the engine's cache must not see a change where only a checkout is newer.
MTIME = 1_000_000_000


@contextmanager
def packed(recipe: Recipe, wheels: Iterable[Path]) -> Iterator[IO[bytes]]:
    """The context of `recipe` as an open tar archive without a name, which vanishes with the block.

    Raises:
        MachineError: the disk is full.
    """
    try:
        file = TemporaryFile(prefix="tandem-context-")  # noqa: SIM115 - closed by the `with` below
    except OSError as error:
        raise disk_error("the build context", error) from error
    with file:
        try:
            _pack(file, entries(recipe, wheels))
            file.seek(0)
        except OSError as error:
            raise disk_error("the build context", error) from error
        yield file


def entries(recipe: Recipe, wheels: Iterable[Path]) -> dict[str, Content]:
    """Everything in the context, by path."""
    files = dict(recipe.files)
    if recipe.pins:
        pins = "".join(f"{name}=={version}\n" for name, version in recipe.pins.items())
        files["wheels/requirements.txt"] = pins.encode()
        files |= {f"wheels/{path.name}": path for path in wheels}
    return files


def _pack(file: IO[bytes], files: Mapping[str, Content]) -> None:
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name in _folders(files):
            archive.addfile(_info(name, tarfile.DIRTYPE, 0o755))
        for name, content in sorted(files.items()):
            info = _info(name, tarfile.REGTYPE, 0o755 if name.endswith(".sh") else 0o644)
            if isinstance(content, Path):
                info.size = content.stat().st_size
                with content.open("rb") as source:
                    archive.addfile(info, source)
            else:
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))


def _folders(names: Iterable[str]) -> list[str]:
    """Every folder above `names`, outer ones first, so that all get ordinary permissions."""
    return sorted({parent.as_posix() for name in names for parent in Path(name).parents} - {"."})


def _info(name: str, kind: bytes, mode: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.mode, info.mtime = kind, mode, MTIME
    return info

"""Files of artifacts: which there are, their sizes and digests."""

import gzip
import hashlib
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path

from pipelines.errors import GateError
from pipelines.files.regular import entries_below, kind, open_regular, sha256_of_file

GZIP_LEVEL = 9
ZSTD_LEVEL = 19


def _join(artifact: str, name: str) -> str:
    return f"{artifact}/{name}" if name else artifact


def artifact_digests(files: Mapping[str, str], path: str) -> dict[str, str]:
    """Return the digests of the files of the artifact at `path`, by name below it: "" for a single file."""
    below = f"{path}/"
    return {
        name.removeprefix(below) if name != path else "": digest
        for name, digest in files.items()
        if name == path or name.startswith(below)
    }


def digest_of(files: Mapping[str, str]) -> str:
    """Digest of an artifact: a single file's own; else over the relative names and digests of its files."""
    if list(files) == [""]:
        return files[""]
    # In the order of path components, as a walk through the folder meets them.
    ordered = sorted(files.items(), key=lambda item: item[0].split("/"))
    whole = hashlib.sha256()
    for name, digest in ordered:
        whole.update(f"{name}\0{digest}\n".encode(errors="surrogateescape"))
    return whole.hexdigest()


def artifact_files(path: Path) -> list[Path]:
    """Return the file itself, or all files below a folder in a fixed order.

    Raises:
        GateError: something there is neither a regular file nor a folder.
    """
    if not stat.S_ISDIR(path.lstat().st_mode):
        return [path]
    files = []
    for name, state in entries_below(path):
        if stat.S_ISREG(state.st_mode):
            files.append(path / name)
        elif not stat.S_ISDIR(state.st_mode):
            raise GateError(f"{path / name} is {kind(state.st_mode)}, and only regular files are artifacts")
    return files


def file_digests(folder: Path, artifacts: Iterable[str]) -> dict[str, str]:
    """Return the SHA-256 of every file of the `artifacts` in `folder`, by its path in `folder`."""
    return {
        file.relative_to(folder).as_posix(): sha256_of_file(file)
        for path in artifacts
        for file in artifact_files(folder / path)
    }


def size_bytes(path: Path) -> int:
    """Return the bytes of a file, or of all files below a folder."""
    return sum(file.lstat().st_size for file in artifact_files(path))


def gzip_bytes(path: Path) -> int:
    """Return the bytes after `gzip -9` of each file: what a download or an app package costs."""
    return sum(
        len(gzip.compress(_content(file), compresslevel=GZIP_LEVEL, mtime=0)) for file in artifact_files(path)
    )


def zstd_bytes(path: Path) -> int:
    """Return the bytes after `zstd -19`, each file of a folder by itself."""
    import pyarrow

    codec = pyarrow.Codec("zstd", compression_level=ZSTD_LEVEL)
    return sum(codec.compress(_content(file)).size for file in artifact_files(path))


def _content(file: Path) -> bytes:
    with open_regular(file) as opened:
        return opened.read()


def sha256(path: Path) -> str:
    """Digest of a file; of a folder, the digest over its relative names and their digests."""
    return digest_of(artifact_digests(file_digests(path.parent, [path.name]), path.name))

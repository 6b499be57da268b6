"""Reading files that others may have put there: regular files only, and never more than was promised.

A link would lead out of the folder that was looked at, and opening a FIFO or a device may wait for ever.
"""

import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from pipelines.errors import GateError

CHUNK_BYTES = 2**20
KINDS: dict[str, Callable[[int], bool]] = {
    "a symbolic link": stat.S_ISLNK,
    "a folder": stat.S_ISDIR,
    "a FIFO": stat.S_ISFIFO,
    "a socket": stat.S_ISSOCK,
    "a device": lambda mode: stat.S_ISCHR(mode) or stat.S_ISBLK(mode),
}


def open_regular(path: Path) -> IO[bytes]:
    """Open a regular file for reading, without following a link and without waiting.

    Raises:
        FileNotFoundError: there is nothing of that name.
        GateError: it is no regular file, or cannot be read.
    """
    try:
        # Looked at before it is opened: merely opening some devices does something.
        _require_regular(path, path.lstat().st_mode)
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise GateError(f"{path} cannot be read: {error.strerror}; check its permissions") from error
    file = os.fdopen(descriptor, "rb")
    try:
        _require_regular(path, os.fstat(descriptor).st_mode)
    except BaseException:
        file.close()
        raise
    return file


def _require_regular(path: Path, mode: int) -> None:
    if not stat.S_ISREG(mode):
        raise GateError(f"{path} is {kind(mode)}, and only regular files are read")


def kind(mode: int) -> str:
    """Name the kind of a file that is not regular."""
    return next((name for name, is_one in KINDS.items() if is_one(mode)), "no regular file")


def read_regular(path: Path, limit_bytes: int) -> bytes:
    """Return the content of a regular file.

    Raises:
        As `open_regular`, and GateError for more than `limit_bytes`.
    """
    with open_regular(path) as file:
        content = file.read(limit_bytes + 1)
    if len(content) > limit_bytes:
        raise GateError(
            f"{path} has more than {limit_bytes} bytes, which is the limit for a file of its kind"
        )
    return content


def chunks(path: Path) -> Iterator[bytes]:
    """Yield the content of a regular file in pieces; raise as `open_regular` does."""
    with open_regular(path) as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk


def sha256_of_file(path: Path) -> str:
    """Return a regular file's SHA-256, hexadecimal, in constant memory; raise as `open_regular` does."""
    digest = hashlib.sha256()
    for chunk in chunks(path):
        digest.update(chunk)
    return digest.hexdigest()


def entries_below(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Yield everything below `folder`: its name relative to it, and its own state, links not followed.

    Raises:
        GateError: a folder cannot be read.
    """
    try:
        with os.scandir(folder) as listing:
            entries = sorted(listing, key=lambda entry: entry.name)
    except OSError as error:
        raise GateError(f"{folder} cannot be read: {error.strerror}; check its permissions") from error
    for entry in entries:
        state = entry.stat(follow_symlinks=False)
        yield entry.name, state
        if stat.S_ISDIR(state.st_mode):
            for name, below in entries_below(folder / entry.name):
                yield f"{entry.name}/{name}", below

"""Files from outside, copied to a place of ours before anything looks at them: that copy is what is used."""

import os
import shutil
import stat
from pathlib import Path

from pipelines.errors import GateError, RequestError
from pipelines.files.atomic import disk_error
from pipelines.files.regular import CHUNK_BYTES, entries_below, kind, open_regular

ENTRIES_LIMIT = 100_000


def take_copy(source: Path, target: Path) -> int:
    """Copy a file or a folder; its bytes.

    A link may be typed; inside a folder none is followed.

    Raises:
        RequestError: there is nothing of that name, or it is larger than what is free on the disk.
        GateError: it holds a link, a device or the like, or more entries than any model has.
        MachineError: the disk refused.
    """
    if not source.exists():
        raise RequestError(f"{source} does not exist")
    real = source.resolve()
    if real.is_dir():
        return _copy_folder(real, target)
    with open_regular(real) as file:
        size = os.fstat(file.fileno()).st_size
        _require_room(source, size, target.parent)
        try:
            with target.open("xb") as copy:
                shutil.copyfileobj(file, copy, CHUNK_BYTES)
        except OSError as error:
            raise disk_error(target, error) from error
    return size


def _copy_folder(source: Path, target: Path) -> int:
    entries = []
    for name, state in entries_below(source):
        entries.append((name, state))
        if len(entries) > ENTRIES_LIMIT:
            raise GateError(f"{source} has more than {ENTRIES_LIMIT} entries, which no model has")
        if not stat.S_ISREG(state.st_mode) and not stat.S_ISDIR(state.st_mode):
            what = kind(state.st_mode)
            raise GateError(f"{source / name} is {what}, and only files and folders are taken in; remove it")
    size = sum(state.st_size for _, state in entries if stat.S_ISREG(state.st_mode))
    _require_room(source, size, target.parent)
    try:
        target.mkdir()
        for name, state in entries:
            if stat.S_ISDIR(state.st_mode):
                (target / name).mkdir()
            else:
                with open_regular(source / name) as file, (target / name).open("xb") as copy:
                    shutil.copyfileobj(file, copy, CHUNK_BYTES)
    except OSError as error:
        raise disk_error(target, error) from error
    return size


def _require_room(source: Path, size: int, folder: Path) -> None:
    """Check that there is room: a sparse file may seem to have no end.

    Raises:
        RequestError: it does not fit.
    """
    free = shutil.disk_usage(folder).free
    if size > free:
        raise RequestError(f"{source} has {size} bytes and {folder} has room for {free}; free disk space")

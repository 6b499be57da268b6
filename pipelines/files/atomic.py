"""Writing files and folders so that nobody ever sees half of one."""

import errno
import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pipelines.errors import MachineError
from pipelines.files.leftovers import note_elsewhere

IN_THE_WAY = (errno.EEXIST, errno.ELOOP, errno.ENOTDIR)
DEVICES, OPEN_FILES = "/dev", "/dev/fd"
MOST_DESCRIPTORS = 2**31 - 1
STREAMS = (stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK)


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write `content` under a temporary name in the same folder, then rename.

    What is no file to be replaced is written into: a device, a pipe, or what this process has open, such as
    /dev/stdout. A reader that has gone away is no failure.

    Raises:
        MachineError: the disk is full or the folder cannot be written.
    """
    data = content.encode() if isinstance(content, str) else content
    try:
        stream = _open_stream(path)
        if stream is None:
            replace_file(path, data)
            return
        with suppress(BrokenPipeError), os.fdopen(stream, "wb") as file:
            file.write(data)
    except OSError as error:
        raise disk_error(path, error) from error


def replace_file(path: Path, data: bytes, *, durable: bool = False) -> None:
    """Write a file under a temporary name in the same folder, then rename it over `path`.

    Args:
        durable: whether it must be on the disk before it is renamed, so that a power cut leaves none empty.

    Raises:
        OSError: the folder cannot be made or written; an older file at `path` is then untouched.
    """
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            temporary = Path(file.name)
            note_elsewhere(file.name)
            file.write(data)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        # Temporary files are for their owner alone; these are for others too.
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        # Gone after a success; still there after any failure, Ctrl-C included.
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _open_stream(path: Path) -> int | None:
    """Open what can only be written into; None for what is a file, is not there yet, or is a link.

    Only the system's own links are followed: whoever shares a folder with us could make another.
    """
    if _folder(path) == DEVICES and path.is_symlink():  # /dev/stdout, /dev/stderr
        path = path.parent / path.readlink()
    if _folder(path) in (OPEN_FILES, f"/proc/{os.getpid()}/fd") and path.name.isdecimal():
        # Opened by its name it would be written from the beginning, over what is there.
        return os.dup(min(int(path.name), MOST_DESCRIPTORS))
    if not path.exists() or stat.S_IFMT(path.lstat().st_mode) not in STREAMS:
        return None
    # Without waiting: for a pipe that nobody reads this is an error.
    descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_NOFOLLOW | os.O_CLOEXEC)
    if not _is_ours(path, os.fstat(descriptor)):
        os.close(descriptor)
        return None
    os.set_blocking(descriptor, True)
    return descriptor


def _is_ours(path: Path, opened: os.stat_result) -> bool:
    """Return whether it is still no file, and the system's or our own: another's pipe may never be read."""
    is_stream = stat.S_IFMT(opened.st_mode) in STREAMS
    return is_stream and (_folder(path) == DEVICES or opened.st_uid == os.geteuid())


def _folder(path: Path) -> str:
    return os.path.realpath(path.parent)


FULL_BYTES = 256_000
# Unix sockets have names of 107 bytes at most, and a server's are this much longer than the folder it is in.
SHORT_BYTES = 107 - len("/tandem-12345678/tmp/.ts.sock.65535")
SHORT_FOLDERS = ("/tmp", "/var/tmp", "/dev/shm")  # noqa: S108 - only folders made in them are used


def short_folder() -> str:
    """Return the folder for temporary files if it can hold a server's Unix sockets, else another that can.

    Raises:
        MachineError: there is none.
    """
    usual = tempfile.gettempdir()
    for folder in (usual, *SHORT_FOLDERS):
        if len(os.fsencode(folder)) <= SHORT_BYTES and _can_hold_sockets(folder):
            return folder
    raise MachineError(
        f"TMPDIR={usual} is too long or on a full disk, and {', '.join(SHORT_FOLDERS)} cannot be used: set "
        f"TMPDIR to a folder with at most {SHORT_BYTES} bytes in its name"
    )


def _can_hold_sockets(folder: str) -> bool:
    return os.access(folder, os.W_OK | os.X_OK) and Path(folder).is_dir() and not full_disk(folder)


def full_disk(folder: Path | str) -> str | None:
    """Say in words that the disk which holds `folder` is full; return None if it is not."""
    try:
        disk = os.statvfs(folder)
    except OSError:
        return None
    if disk.f_bavail * disk.f_frsize < FULL_BYTES or (disk.f_files and not disk.f_favail):
        return f"the disk that holds {folder} is full: free space, or set TMPDIR if that is temporary"
    return None


def where_it_is_full() -> str:
    """Say which of the disks that we write to without saying where is full, or that none is."""
    folders = (os.environ.get("TMPDIR") or "/tmp", ".")  # noqa: S108 - looked at, not written to
    return next(filter(None, map(full_disk, folders)), "the operating system refused")


def disk_error(path: Path | str, error: OSError) -> MachineError:
    """Return the one-line error for a file operation that was refused."""
    remedy = "free disk space or check its permissions"
    if error.errno in IN_THE_WAY:
        remedy = "something on the way is no folder, such as a link that leads nowhere; name another"
    return MachineError(f"cannot write {path}: {error.strerror or error}; {remedy}")


@contextmanager
def new_folder(final: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `final` that replaces it if the block succeeds, and vanishes if not.

    A block that removes the folder leaves `final` as it is.

    Raises:
        MachineError: the disk refused.
    """
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=final.parent, prefix=f".{final.name}-"))
        note_elsewhere(str(temporary))
    except OSError as error:
        raise disk_error(final, error) from error
    try:
        yield temporary
        if temporary.exists():
            temporary.chmod(0o755)
            swap(temporary, final)
    except OSError as error:
        raise disk_error(final, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def swap(new: Path, final: Path) -> None:
    """Put `new` in the place of `final`, whatever was there; it stays if the rename is refused."""
    if final.exists():
        old = Path(tempfile.mkdtemp(dir=final.parent, prefix=f".{final.name}-old-"))
        note_elsewhere(str(old))
        final.replace(old / final.name)
        try:
            new.replace(final)
        except OSError:
            (old / final.name).replace(final)
            raise
        finally:
            shutil.rmtree(old, ignore_errors=True)
    else:
        new.replace(final)


def copy_file(source: Path, target: Path) -> None:
    """Copy the content of a file.

    Raises:
        FileNotFoundError: there is no `source`.
        MachineError: the disk refused; names the file that could not be written.
    """
    data = source.read_bytes()
    try:
        target.write_bytes(data)
    except OSError as error:
        raise disk_error(target, error) from error


def make_first(folder: Path, result: str, inner: Iterable[str]) -> bool:
    """Make a run's folder and the `inner` ones; False if another process has made it.

    If we are killed, it goes again unless it holds a file called `result` by then.
    """
    try:
        folder.mkdir()
    except FileExistsError:
        return False
    note_elsewhere(str(folder), unless=result)
    for name in inner:
        (folder / name).mkdir()
    return True


@contextmanager
def locked(path: Path, on_wait: Callable[[], None]) -> Iterator[None]:
    """Hold the lock file `path`; calls `on_wait` once if another process holds it, then waits for it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Nothing is truncated, no link is followed, and a FIFO of that name does not wait for a reader.
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        file = os.fdopen(os.open(path, flags, 0o644), "rb", buffering=0)
    except OSError as error:
        raise disk_error(path, error) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_wait()
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def update_link(link: Path, target_name: str) -> None:
    """Point the symbolic link `link` at `target_name` (relative, same folder), replacing it atomically."""
    temporary = link.with_name(f".{link.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target_name)
    temporary.replace(link)

"""What a command that was killed leaves behind, and how it is removed: by proof, never by name.

Every command that starts processes has a folder of its own, `tandem-XXXXXXXX` below the system's temporary
folder. It holds every temporary folder the command and its children make, and

lock        locked (flock) for as long as the command or its guard lives; it holds the command's mark
elsewhere   temporary folders and files that had to be made somewhere else, one a line
engine      there once containers were made

The mark is in the environment of every process the command starts, whoever starts it, and so proves whose a
process is: also that of a grandchild in a session of its own, and of one that is stopped.

Run as a program (`python -I -S leftovers.py TEMPORARY-FOLDER PROGRAM…`) it is the guard of one command: it
makes the folder, tells the mark, waits for the end of its standard input, which comes when the command ends
however it ends, and then removes what is left. PROGRAM removes containers. Imports little: it must start at
once, and costs nothing while it waits.
"""

import fcntl
import os
import signal
import sys
import time

MARK = "TANDEM_RUN"
PREFIX = "tandem-"
# Where Linux shows POSIX shared memory.
SHARED_MEMORY = "/dev/shm"  # noqa: S108 - looked into
DONE = b"done"
GRACE_S = 2.0
LIMIT_S = 8.0
LOOK_S = 0.1
# A process that was being started when its command was killed shows its mark a moment later.
QUIET_LOOKS = 3
ENGINE_LIMIT_S = 60.0


def main(arguments: list[str]) -> int:
    """Guard the command that started this process, until it has ended and nothing of it is left."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    mark, _held = claim(arguments[0])
    _tell(mark)
    died = _read_all(0) != DONE
    clear(mark, quiet_looks=QUIET_LOOKS if died else 1, engine=arguments[1:] if died else [])
    return 0


def _tell(mark: str) -> None:
    """Tell the command its mark; it may have been killed before it could be told."""
    try:
        os.write(1, f"{mark}\n".encode())
    except OSError:
        return
    finally:
        os.close(1)


def _read_all(descriptor: int) -> bytes:
    parts = []
    while part := os.read(descriptor, 64):
        parts.append(part)
    return b"".join(parts)


def claim(temporary: str) -> tuple[str, int]:
    """Make a folder of a command's own in `temporary`: its mark, and the descriptor that keeps it locked."""
    folder = os.path.join(temporary, PREFIX + os.urandom(4).hex())  # noqa: PTH118 - pathlib costs its import
    os.mkdir(folder, 0o700)  # noqa: PTH102
    mark = f"{folder}:{os.urandom(16).hex()}"
    # Locked before it has its name: nobody ever sees a lock of ours that is free.
    unnamed = f"{folder}/.lock"
    held = os.open(unnamed, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
    fcntl.flock(held, fcntl.LOCK_SH)
    os.write(held, mark.encode())
    os.rename(unnamed, f"{folder}/lock")  # noqa: PTH104
    return mark, held


def folder_of(mark: str) -> str:
    """Return the folder of the command that has this mark."""
    return mark.rpartition(":")[0]


def hold(mark: str) -> int:
    """Keep the folder of `mark` locked, beside others that do; return the descriptor that does so."""
    held = os.open(f"{folder_of(mark)}/lock", os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_SH)
    return held


def sweep(temporary: str) -> list[str]:
    """Remove what commands of this user left that are dead together with their guards; returns their marks.

    A folder is theirs if it is this user's alone and holds a lock file that names the folder; they are dead
    if nobody holds the lock.
    """
    try:
        names = os.listdir(temporary)  # noqa: PTH208
    except OSError:
        return []
    marks = (_abandoned(f"{temporary}/{name}") for name in names if name.startswith(PREFIX))
    return [mark for mark in marks if mark]


def _abandoned(folder: str) -> str | None:
    """Clear `folder` if it is a dead command's; its mark if so."""
    try:
        if not _is_ours(folder):
            return None
        held = os.open(f"{folder}/lock", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        mark = os.read(held, 4096).decode(errors="replace")
        if folder_of(mark) != folder:
            return None
        clear(mark, quiet_looks=1)
    except OSError:
        return None
    finally:
        os.close(held)
    return mark


def _is_ours(folder: str) -> bool:
    state = os.lstat(folder)
    return state.st_uid == os.geteuid() and state.st_mode & 0o170077 == 0o040000  # noqa: PLR2004 - drwx------


def clear(mark: str, *, quiet_looks: int, engine: "list[str] | tuple[str, ...]" = ()) -> None:
    """End what has this mark and remove the folders that go with it."""
    folder = folder_of(mark)
    end_marked(mark, quiet_looks)
    if engine and os.path.exists(f"{folder}/engine"):  # noqa: PTH110
        _run_briefly(engine)
    remove_elsewhere(folder)
    for path in shared_memory(_memory_prefix(folder)):
        _remove(path)
    started = time.monotonic()
    _remove(folder)
    # Something that was just being started may have put a file into it meanwhile.
    while os.path.exists(folder) and time.monotonic() - started < LIMIT_S:  # noqa: PTH110
        time.sleep(LOOK_S)
        end_marked(mark, quiet_looks)
        _remove(folder)


def marked(mark: str) -> list[int]:
    """Return the ids of all processes that carry this mark in their environment, as far as we may see."""
    names = os.listdir("/proc") if os.path.isdir("/proc") else []  # noqa: PTH112, PTH208
    return [int(name) for name in names if name.isdecimal() and _carries(int(name), mark)]


def _carries(pid: int, mark: str) -> bool:
    return f"{MARK}={mark}".encode() in (_environment(pid) or b"").split(b"\0")


def _environment(pid: int) -> bytes | None:
    """Return the environment that process `pid` was started with; None if it is gone or another user's."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:  # noqa: PTH123
            return file.read()
    except OSError:
        return None


def someone_begins() -> bool:
    """Return whether a process of this user shows no environment: one that begins a program has none yet.

    So it does from the moment when whoever started it goes on until the kernel has laid the new program out.
    """
    names = os.listdir("/proc") if os.path.isdir("/proc") else []  # noqa: PTH112, PTH208
    pids = (int(name) for name in names if name.isdecimal())
    # Threads of the kernel and zombies have no program.
    return any(_environment(pid) == b"" and os.path.exists(f"/proc/{pid}/exe") for pid in pids)  # noqa: PTH110


def end_marked(mark: str, quiet_looks: int) -> None:
    """End every process with this mark: SIGTERM, and SIGCONT that the stopped ones heed it; then SIGKILL.

    Looks again until `quiet_looks` times in a row there was none, since what ends may just have started more;
    QUIET_LOOKS times while there is a process of which that cannot be said yet.
    """
    started, quiet = time.monotonic(), 0
    signalled: set[int] = set()
    while time.monotonic() - started < LIMIT_S:
        pids = marked(mark)
        quiet = 0 if pids else quiet + 1
        if quiet >= quiet_looks and (quiet >= QUIET_LOOKS or not someone_begins()):
            return
        overdue = time.monotonic() - started > GRACE_S
        for pid in pids if overdue else set(pids) - signalled:
            _signal(pid, mark, (signal.SIGKILL,) if overdue else (signal.SIGTERM, signal.SIGCONT))
        signalled.update(pids)
        time.sleep(LOOK_S)


def _signal(pid: int, mark: str, numbers: tuple[signal.Signals, ...]) -> None:
    """Signal process `pid` if it is, at this moment, one with this mark: an id may have been given anew."""
    try:
        handle = os.pidfd_open(pid)
    except OSError:
        return
    try:
        if _carries(pid, mark):
            for number in numbers:
                signal.pidfd_send_signal(handle, number)
    except OSError:
        return
    finally:
        os.close(handle)


def _run_briefly(command: "list[str] | tuple[str, ...]") -> None:
    import subprocess

    quiet = subprocess.DEVNULL
    try:
        subprocess.run(
            command, stdin=quiet, stdout=quiet, stderr=quiet, timeout=ENGINE_LIMIT_S, check=False, cwd="/"
        )
    except (OSError, subprocess.SubprocessError):
        return


def note_elsewhere(path: str, *, unless: str = "") -> None:
    """Have `path` removed if we are killed; a folder with a file called `unless` in it is then kept.

    Does nothing where no guard is.
    """
    mark = os.environ.get(MARK)
    if not mark:
        return
    try:
        state = os.lstat(path)
        line = f"{state.st_dev} {state.st_ino} {unless or '-'} {os.path.abspath(path)}\0"  # noqa: PTH100
        with open(f"{folder_of(mark)}/elsewhere", "ab", buffering=0) as file:  # noqa: PTH123
            file.write(os.fsencode(line))
    except OSError:
        return


def note_engine() -> None:
    """Have containers of ours removed if we are killed."""
    mark = os.environ.get(MARK)
    if mark:
        with open(f"{folder_of(mark)}/engine", "ab"):  # noqa: PTH123
            pass


def shared_memory_prefix() -> str:
    """Return the prefix of the names of POSIX shared memory that goes with this command.

    A server that is killed cannot remove its own.
    """
    mark = os.environ.get(MARK)
    return _memory_prefix(folder_of(mark)) if mark else f"{PREFIX}{os.getpid()}-"


def _memory_prefix(folder: str) -> str:
    return os.path.basename(folder) + "-"  # noqa: PTH119 - pathlib costs its import


def shared_memory(prefix: str) -> list[str]:
    """Return the paths of this user's POSIX shared memory whose names begin with `prefix`."""
    try:
        names = os.listdir(SHARED_MEMORY)  # noqa: PTH208
    except OSError:
        return []
    return [
        path
        for path in (f"{SHARED_MEMORY}/{name}" for name in names if name.startswith(prefix))
        if _owns(path)
    ]


def _owns(path: str) -> bool:
    try:
        return os.lstat(path).st_uid == os.geteuid()
    except OSError:
        return False


def remove_elsewhere(folder: str) -> None:
    """Remove what was noted, if it is still the very file or folder that was."""
    try:
        with open(f"{folder}/elsewhere", "rb") as file:  # noqa: PTH123
            lines = os.fsdecode(file.read()).split("\0")
    except OSError:
        return
    for line in lines[:-1]:
        device, inode, unless, path = line.split(" ", 3)
        is_kept = unless != "-" and os.path.exists(f"{path}/{unless}")  # noqa: PTH110
        if not is_kept and _identity(path) == (device, inode):
            _remove(path)


def _identity(path: str) -> tuple[str, str] | None:
    try:
        state = os.lstat(path)
    except OSError:
        return None
    return str(state.st_dev), str(state.st_ino)


def _remove(path: str) -> None:
    import shutil

    try:
        os.unlink(path)  # noqa: PTH108
    except IsADirectoryError:
        shutil.rmtree(path, ignore_errors=True)
    except OSError:
        return


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

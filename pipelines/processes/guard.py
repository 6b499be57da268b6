"""The guard: a small process beside every command that starts others, which outlives us and tidies up.

A killed process can end nobody. The kernel tells our children when we are gone, but a stopped one does not
listen, and their children are not told. `leftovers` says what the guard does and how it knows what is ours.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from pipelines.errors import MachineError
from pipelines.files import leftovers
from pipelines.files.atomic import disk_error
from pipelines.import_path import VARIABLE
from pipelines.processes.group import interrupts_held

END_LIMIT_S = 2 * leftovers.LIMIT_S
# What a Python needs to start, and what finds the engine and talks to it. Nothing else: the guard starts
# before a header's secret is taken out of our environment, and keeps what it is given.
NEEDED = (
    *("PATH", "HOME", "USER", "LOGNAME", "LD_LIBRARY_PATH", "LD_PRELOAD"),
    *("PYTHONHOME", "PYTHONPATH", "PYTHONUSERBASE", "PYTHONNOUSERSITE", VARIABLE),
    *("PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX"),
    *("DOCKER_HOST", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH", "DOCKER_CONFIG", "SSH_AUTH_SOCK"),
)
REMOVE_CONTAINERS = (sys.executable, "-P", "-m", "pipelines.runners.docker_ownership")


@contextmanager
def guarded() -> Iterator[None]:
    """Have everything that the block starts ended and removed, also if this process is killed.

    First removes what commands left that were killed together with their guards.

    Raises:
        MachineError: no process can be started, or the temporary folder cannot be written.
    """
    temporary = tempfile.gettempdir()
    leftovers.sweep(temporary)
    with interrupts_held():
        guard, mark = _start(temporary)
    held = leftovers.hold(mark)
    try:
        with _marked(mark):
            yield
    finally:
        _end(guard)
        os.close(held)
        if guard.poll():  # it was ended from outside: then its work is ours to do
            leftovers.sweep(temporary)


def _start(temporary: str) -> "tuple[subprocess.Popen[bytes], str]":
    """Start the guard; return it and the mark it has chosen."""
    ours = {name: os.environ[name] for name in NEEDED if name in os.environ}
    environment = {"PATH": os.defpath, **ours}  # an empty one is that of a process which only just begins
    command = [sys.executable, "-I", "-S", "-X", "utf8", leftovers.__file__, temporary, *REMOVE_CONTAINERS]
    try:
        guard = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            cwd="/",
            start_new_session=True,
        )
    except OSError as error:
        raise MachineError(f"no process can be started: {error.strerror}") from error
    assert guard.stdout is not None  # noqa: S101 - a pipe was asked for
    with guard.stdout as output:
        mark = output.readline().decode().strip()
    if not mark:
        guard.wait()
        raise disk_error(f"a folder in {temporary}", OSError("it refused"))
    return guard, mark


@contextmanager
def _marked(mark: str) -> Iterator[None]:
    """Mark every process started in the block with `mark`, which says where temporary files go."""
    names = (leftovers.MARK, "TMPDIR")
    before = {name: os.environ.get(name) for name in names}, tempfile.tempdir
    os.environ.update(dict(zip(names, (mark, leftovers.folder_of(mark)), strict=True)))
    tempfile.tempdir = None
    try:
        yield
    finally:
        for name, value in before[0].items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
        tempfile.tempdir = before[1]


def _end(guard: "subprocess.Popen[bytes]") -> None:
    """Say that nothing is left to end, and wait until the guard has made sure."""
    assert guard.stdin is not None  # noqa: S101 - a pipe was asked for
    with suppress(OSError), guard.stdin as pipe:
        pipe.write(leftovers.DONE)
    with suppress(subprocess.TimeoutExpired):
        guard.wait(END_LIMIT_S)

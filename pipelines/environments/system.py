"""What an environment needs of the machine that no package brings: processor, C library, libpython."""

import ctypes.util
import os
import platform
import subprocess
import sys
import sysconfig
from functools import cache
from pathlib import Path

from pipelines.errors import MachineError
from pipelines.files.leftovers import SHARED_MEMORY

# An interpreter that is in a folder of its own has its library in one of these, beside it.
FOLDERS = ("lib", "lib64")
LOOK_LIMIT_S = 10.0


def require_processor(name: str, allowed: str) -> None:
    """Raise MachineError if the packages of environment `name` are built for another processor."""
    processor = platform.machine()
    if processor != allowed:
        raise MachineError(
            f"the environment {name} cannot be made on {processor}: its packages are built for {allowed}; do "
            "without it here"
        )


def require_glibc(name: str, needed: tuple[int, int]) -> None:
    """Raise MachineError if the C library is not glibc, or is older than `needed`."""
    library, version = platform.libc_ver()
    wanted = ".".join(map(str, needed))
    installed = tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())
    if library != "glibc" or installed < needed:
        raise MachineError(
            f"the environment {name} needs glibc {wanted} or newer, this system has "
            f"{f'{library} {version}'.strip() or 'another C library'}; use a newer system (Debian 12, Ubuntu "
            "22.04), or do without it here"
        )


def require_python_library(name: str) -> None:
    """Raise MachineError if the shared library of this Python is missing."""
    if python_library() is None:
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        raise MachineError(
            f"the environment {name} needs {_file_name()}, which is not on this system; install it (Debian "
            f"and Ubuntu: apt-get install libpython{version}), or do without it here"
        )


def require_shared_memory(who: str, otherwise: str = "do without it here") -> None:
    """Raise MachineError if this user cannot make files in shared memory.

    Args:
        who: needs it, in a sentence.
        otherwise: what can be done where it cannot be had.
    """
    if not os.access(SHARED_MEMORY, os.W_OK | os.X_OK):
        raise MachineError(
            f"{who} needs shared memory: {SHARED_MEMORY} is not there, or may not be written to; mount a "
            f"tmpfs there with the mode 1777, or {otherwise}"
        )


@cache
def python_library() -> Path | None:
    """Find the shared library of the running Python, its own before the system's; None if there is none."""
    name = _file_name()
    own = [sysconfig.get_config_var("LIBDIR") or "", *(f"{sys.base_prefix}/{folder}" for folder in FOLDERS)]
    own_library = next(
        (Path(folder) / name for folder in own if folder and (Path(folder) / name).is_file()), None
    )
    return own_library or _of_the_system(name)


def _file_name() -> str:
    return f"libpython{sys.version_info.major}.{sys.version_info.minor}.so.1.0"


def _of_the_system(name: str) -> Path | None:
    """Find the library where the dynamic linker's own list has it."""
    if not ctypes.util.find_library(name.removeprefix("lib").partition(".so")[0]):
        return None
    for program in ("/sbin/ldconfig", "ldconfig"):
        try:
            done = subprocess.run(
                [program, "-p"], capture_output=True, text=True, timeout=LOOK_LIMIT_S, check=True
            )
        except (OSError, subprocess.SubprocessError):
            continue
        for line in done.stdout.splitlines():
            path = Path(line.rpartition("=> ")[2].strip())
            if path.name == name and path.is_file():
                return path
    return None

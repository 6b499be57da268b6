"""The C++ compiler that AOTInductor needs to make a `.pt2` package: the one that torch itself would call."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass

from pipelines.errors import MachineError

PROBE_LIMIT_S = 30.0
USUAL = "clang++" if sys.platform == "darwin" else "g++"
REMEDY = "install one (Debian: g++, Fedora: gcc-c++, macOS: xcode-select --install), or set CXX to its path"


@dataclass(frozen=True)
class Compiler:
    """An executable that answered `--version`, with the first line of that."""

    executable: str
    version: str


class NoCompilerError(MachineError):
    """There is no compiler that starts; `problem` and `remedy` are its message's two halves."""

    def __init__(self, problem: str) -> None:
        super().__init__(f"{problem}; {REMEDY}")
        self.problem, self.remedy = problem, REMEDY


def find_compiler() -> Compiler:
    """Find the compiler named by CXX, else the usual one on PATH.

    Raises:
        NoCompilerError: there is none, or it does not start; says what to install.
    """
    name = os.environ.get("CXX") or USUAL
    executable = shutil.which(name)
    if executable is None:
        raise NoCompilerError(f"there is no C++ compiler {name} on PATH")
    try:
        done = subprocess.run(
            [executable, "--version"], capture_output=True, text=True, timeout=PROBE_LIMIT_S, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise NoCompilerError(f"the C++ compiler {executable} does not start") from error
    return Compiler(executable, next(iter(done.stdout.splitlines()), "").strip())

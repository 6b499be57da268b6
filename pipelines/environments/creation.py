"""Making an environment: once, whole or not at all, by one process at a time; afterwards it works offline."""

import os
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Callable
from pathlib import Path
from typing import IO, cast

from pipelines.environments.known import SHARED_VARIABLE, Environment
from pipelines.errors import MachineError
from pipelines.files.atomic import disk_error, locked, new_folder
from pipelines.files.log_ends import read_end
from pipelines.processes.children import child_environment
from pipelines.processes.group import before_exec, end_group, interrupts_held

# Read by the environment's interpreter at its start: our packages come after its own.
SHARING = (
    "import os, sys; "
    f"sys.path.extend(filter(None, os.environ.get({SHARED_VARIABLE!r}, '').split(os.pathsep)))\n"
)
# What pip says at its beginning of each line that is worth showing.
TOLD = {"Downloading": "downloading", "Installing": "unpacking"}
SMALL = " kB)"


def ensure(environment: Environment, progress: Callable[[str], None]) -> Path:
    """Return the interpreter of an environment, making the environment first if it is missing.

    Raises:
        MachineError: it cannot be made or used: this Python or system, no index that answers, no space, no
            permission.
    """
    environment.require_system()
    if environment.made:
        return environment.python
    environment.require_python()
    lock = environment.folder.with_name(f".{environment.folder.name}.lock")
    with locked(lock, lambda: progress(f"waiting for another process that makes {environment.name}")):
        if not environment.made:
            _require_space(environment)
            progress(
                f"making the environment {environment.name}, once ({environment.purpose}; "
                f"{environment.disk_mb} MB on disk, {environment.folder})"
            )
            with new_folder(environment.folder) as folder:
                _make(environment, folder, progress)
    return environment.python


def _require_space(environment: Environment) -> None:
    try:
        free_mb = shutil.disk_usage(environment.folder.parent).free // 10**6
    except OSError as error:
        raise disk_error(environment.folder, error) from error
    if free_mb < environment.disk_mb:
        raise MachineError(
            f"the environment {environment.name} needs {environment.disk_mb} MB, {environment.folder.parent} "
            f"has {free_mb} MB free: free disk space, or set TANDEM_ENVIRONMENTS to a folder on another disk"
        )


def _make(environment: Environment, folder: Path, progress: Callable[[str], None]) -> None:
    venv.EnvBuilder(symlinks=True).create(folder)
    packages = next(folder.glob("lib/python*/site-packages"))
    if environment.shares:
        # Last in the alphabet: after whatever the environment's own packages bring.
        (packages / "zz_tandem_shared.pth").write_text(SHARING)
    command = [
        *(sys.executable, "-P", "-m", "pip", "--python", str(folder / "bin" / "python")),
        *("install", "--no-deps", "--no-compile", "--progress-bar", "off", "--disable-pip-version-check"),
        *("--no-input", "-r", str(environment.lock)),
    ]
    with tempfile.NamedTemporaryFile(prefix="tandem-pip-") as errors:
        code = _run(command, cast("IO[bytes]", errors), progress)
        if code:
            raise MachineError(_why(environment, Path(errors.name)))


def _run(command: list[str], errors: IO[bytes], progress: Callable[[str], None]) -> int:
    """Run pip, telling what it does; its exit code. Ended with all it started if this process is stopped."""
    with interrupts_held():
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=child_environment(),
            start_new_session=True,
            preexec_fn=before_exec(),  # noqa: PLW1509 - only a prctl call, looked up beforehand
        )
    try:
        with cast("IO[bytes]", process.stdout) as lines:
            for line in lines:
                word, _, rest = line.decode(errors="replace").strip().partition(" ")
                if word in TOLD and not (word == "Downloading" and SMALL in rest):
                    progress(f"{TOLD[word]} {_short(rest)}")
        return process.wait()
    finally:
        end_group(process)


def _short(rest: str) -> str:
    """Shorten a line of pip's to a file with its size, or the number of packages installed."""
    if rest.startswith("collected packages"):
        return f"{rest.count(',') + 1} packages"
    name, _, after = rest.partition(" (")
    size = f" ({after}" if after[:1].isdigit() else ""
    return f"{name.rpartition('/')[2]}{size}"


def _why(environment: Environment, log: Path) -> str:
    errors = [line.removeprefix("ERROR:").strip() for line in read_end(log).splitlines() if "ERROR:" in line]
    whole = " ".join(read_end(log).split())
    if os.strerror(28) in whole:
        reason = "the disk is full"
    elif "NewConnectionError" in whole or "NameResolutionError" in whole or "Max retries" in whole:
        reason = "the package index does not answer"
    else:
        reason = errors[0] if errors else (whole[-200:] or "pip gave no reason")
    return (
        f"the environment {environment.name} cannot be made: {reason}; it needs a package index once "
        "(pip's own settings, such as PIP_INDEX_URL, are heeded) and nothing of the network afterwards"
    )

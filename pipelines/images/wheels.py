"""Collecting wheels on the host: inside a build there may be no network, or one that pip does not trust."""

import os
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from pipelines.errors import MachineError
from pipelines.files import locked
from pipelines.processes import before_exec, end_group
from pipelines.workers import Progress

ROOT = Path(__file__).parents[2]
REQUIREMENTS = ROOT / "requirements"
# The installer of the image's own environment; a wheel can be run as it is.
PIP = "pip"
TORCH_INDEX_URL = "https://download.pytorch.org/whl/cpu"


def wheel_folder() -> Path:
    """Where wheels are kept: TANDEM_WHEELS, else build/wheels of the checkout."""
    return Path(os.environ.get("TANDEM_WHEELS") or ROOT / "build" / "wheels")


def share(locks: Iterable[str], without: Iterable[str]) -> dict[str, str]:
    """Name → version of what the locks pin, leaving out what an image does not run.

    Raises:
        MachineError: something to leave out is not pinned at all, so the list is out of date.
    """
    pins: dict[str, str] = {}
    for lock in locks:
        lines = (REQUIREMENTS / f"{lock}.lock").read_text().splitlines()
        pins |= dict(line.split("==", 1) for line in lines if "==" in line and not line.startswith("#"))
    unknown = sorted(set(without) - set(pins))
    if unknown:
        raise MachineError(f"requirements/*.lock no longer pin {', '.join(unknown)}: mend the image's recipe")
    return {name: version for name, version in sorted(pins.items()) if name not in set(without)}


def collect(pins: Mapping[str, str], progress: Progress, title: str) -> list[Path]:
    """The wheel of every pin, and pip's own; those that the cache lacks are downloaded or built.

    Raises:
        MachineError: pip could not get one; with its last words.
    """
    folder = wheel_folder()
    with locked(folder / ".lock", lambda: progress(title, f"waiting for another command in {folder}")):
        missing = [pin for pin in _wanted(pins) if _find(folder, *pin) is None]
        if missing:
            progress(title, f"collecting {len(missing)} wheels")
            _fetch([f"{name}=={version}" if version else name for name, version in missing], folder)
        found = {name: _find(folder, name, version) for name, version in _wanted(pins)}
    lost = sorted(name for name, path in found.items() if path is None)
    if lost:
        raise MachineError(f"pip says it collected {', '.join(lost)}, but no such wheel is in {folder}")
    return [path for path in found.values() if path is not None]


def _wanted(pins: Mapping[str, str]) -> list[tuple[str, str]]:
    return [*pins.items(), (PIP, "")]


def _find(folder: Path, name: str, version: str) -> Path | None:
    """The wheel of a distribution; "" for the newest version there is."""
    stem = re.sub(r"[-_.]+", "_", name)
    fitting = [
        path
        for path in sorted(folder.glob("*.whl"))
        if re.sub(r"[-_.]+", "_", path.name.split("-")[0]).lower() == stem.lower()
        and version in ("", path.name.split("-")[1])
    ]
    return fitting[-1] if fitting else None


def _fetch(requirements: list[str], folder: Path) -> None:
    failed = _pip_wheel(requirements, folder, [])
    if failed and any(name.startswith("torch==") for name in requirements):
        failed = _pip_wheel(
            requirements, folder, ["--extra-index-url", os.environ.get("TORCH_INDEX_URL") or TORCH_INDEX_URL]
        )
    if failed:
        raise MachineError(
            f"the wheels for the image are not in {folder} and pip cannot get them: {failed}; build once "
            "with a package index within reach, or copy the wheels there"
        )


def _pip_wheel(requirements: list[str], folder: Path, options: list[str]) -> str | None:
    """None when all are in `folder`; else the last words of pip."""
    pip = [sys.executable, "-P", "-m", "pip"]
    command = [*pip, "wheel", "--quiet", "--disable-pip-version-check", "--no-deps"]
    process = subprocess.Popen(
        [*command, *options, "--wheel-dir", str(folder), *requirements],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        preexec_fn=before_exec(),  # noqa: PLW1509 - only a prctl call, looked up beforehand
    )
    try:
        output, _ = process.communicate()
    finally:
        end_group(process)
    if process.returncode == 0:
        return None
    lines = [
        line.strip()
        for line in output.decode(errors="replace").splitlines()
        if line.strip() and not line.startswith("WARNING")
    ]
    return " | ".join(lines[-2:]) or f"exit code {process.returncode}"

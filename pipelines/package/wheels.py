"""Collecting wheels on the host: inside a build there may be no network, or one that pip does not trust."""

import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

from packaging.requirements import Requirement
from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

from pipelines.errors import MachineError
from pipelines.files.atomic import locked
from pipelines.processes.children import child_environment
from pipelines.processes.group import before_exec, end_group, how_it_ended
from pipelines.tasks.tasks import Progress

ROOT = Path(__file__).parents[2]
REQUIREMENTS = ROOT / "requirements"
# The installer of the image's own environment; a wheel can be run as it is.
PIP = "pip"
# The images' own Python and C library, Debian 12's, whatever this command runs on.
IMAGE_PYTHON = (3, 11)
IMAGE_GLIBC_MINOR = 36
TORCH_INDEX_URL = "https://download.pytorch.org/whl/cpu"


def wheel_folder() -> Path:
    """Return the folder of wheels: TANDEM_WHEELS, else build/wheels of the checkout."""
    return Path(os.environ.get("TANDEM_WHEELS") or ROOT / "build" / "wheels")


def share(locks: Iterable[str], without: Iterable[str]) -> dict[str, str]:
    """Name → version of what the locks pin for the images' Python, leaving out what an image does not run.

    Raises:
        MachineError: something to leave out is not pinned at all, so the list is out of date.
    """
    pins: dict[str, str] = {}
    for lock in locks:
        lines = (REQUIREMENTS / f"{lock}.lock").read_text().splitlines()
        pins |= _applying(line for line in lines if not line.startswith("#"))
    unknown = sorted(set(without) - set(pins))
    if unknown:
        raise MachineError(f"requirements/*.lock no longer pin {', '.join(unknown)}: mend the image's recipe")
    return {name: version for name, version in sorted(pins.items()) if name not in set(without)}


def _applying(lines: Iterable[str]) -> dict[str, str]:
    python = ".".join(map(str, IMAGE_PYTHON))
    environment = {
        "python_version": python,
        "python_full_version": f"{python}.0",
        "platform_machine": platform.machine(),
    }
    wanted = [Requirement(line) for line in lines]
    return {
        r.name: str(r.specifier).removeprefix("==")
        for r in wanted
        if r.marker is None or r.marker.evaluate(environment)
    }


def collect(pins: Mapping[str, str], progress: Progress, title: str) -> list[Path]:
    """Return the wheel of every pin, and pip's own, downloading those that the cache lacks.

    Raises:
        MachineError: pip could not get one; with its last words.
    """
    folder = wheel_folder()
    with locked(folder / ".lock", lambda: progress(title, f"waiting for another command in {folder}")):
        missing = [pin for pin in _wanted(pins) if _find(folder, *pin) is None]
        if missing:
            progress(title, f"collecting {len(missing)} wheels")
            _fetch([f"{name}=={version}" if version else name for name, version in missing], folder)
        wheels = {name: _find(folder, name, version) for name, version in _wanted(pins)}
    lost = sorted(name for name, path in wheels.items() if path is None)
    if lost:
        raise MachineError(f"pip says it collected {', '.join(lost)}, but no such wheel is in {folder}")
    return [path for path in wheels.values() if path is not None]


def _wanted(pins: Mapping[str, str]) -> list[tuple[str, str]]:
    return [*pins.items(), (PIP, "")]


def _find(folder: Path, name: str, version: str) -> Path | None:
    """Find the wheel of a distribution that fits an image; version "" finds the newest there is."""
    fitting = []
    for path in folder.glob("*.whl"):
        try:
            its_name, its_version, _, its_tags = parse_wheel_filename(path.name)
        except InvalidWheelFilename:
            continue
        wanted = its_name == canonicalize_name(name) and version in ("", str(its_version))
        if wanted and not its_tags.isdisjoint(_image_tags()):
            fitting.append((its_version, path))
    return max(fitting)[1] if fitting else None


def _platforms() -> list[str]:
    machine = platform.machine()
    old = [f"manylinux{name}_{machine}" for name in ("1", "2010", "2014")]
    own = [f"manylinux_2_{minor}_{machine}" for minor in range(5, IMAGE_GLIBC_MINOR + 1)]
    return [*own, *old, f"linux_{machine}"]


@cache
def _image_tags() -> frozenset[Tag]:
    interpreter = "cp" + "".join(map(str, IMAGE_PYTHON))
    native = cpython_tags(IMAGE_PYTHON, platforms=_platforms())
    return frozenset([*native, *compatible_tags(IMAGE_PYTHON, interpreter, _platforms())])


def _fetch(requirements: list[str], folder: Path) -> None:
    failed = _pip_download(requirements, folder)
    if failed and any(name.startswith("torch==") for name in requirements):
        index = os.environ.get("TORCH_INDEX_URL") or TORCH_INDEX_URL
        failed = _pip_download([f"--extra-index-url {index}", *requirements], folder)
    if failed:
        raise MachineError(
            f"the wheels for the image are not in {folder} and pip cannot get them: {failed}; build once "
            "with a package index within reach, or copy the wheels there"
        )


def _pip_download(lines: list[str], folder: Path) -> str | None:
    """Download what a requirements file of these lines asks for; return None, or else pip's last words.

    An index may hold a password: it goes through a pipe, which other users of this machine cannot list.
    """
    pip = [sys.executable, "-P", "-m", "pip"]
    command = [*pip, "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    target = ["--only-binary=:all:", "--python-version", ".".join(map(str, IMAGE_PYTHON))]
    target += [argument for name in _platforms() for argument in ("--platform", name)]
    with subprocess.Popen(
        [*command, *target, "--dest", str(folder), "--requirement", "/dev/stdin"],
        env=child_environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        preexec_fn=before_exec(),  # noqa: PLW1509 - only a prctl call, looked up beforehand
    ) as process:
        try:
            output, _ = process.communicate("\n".join(lines).encode())
        finally:
            end_group(process)
    if process.returncode == 0:
        return None
    words = [
        line.strip()
        for line in output.decode(errors="replace").splitlines()
        if line.strip() and not line.startswith("WARNING")
    ]
    return " | ".join(words[-2:]) or how_it_ended(process.returncode)

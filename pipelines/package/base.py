"""The Debian image that ours begin with: pulled, or made with debootstrap where nothing can be pulled."""

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import IO, TYPE_CHECKING

from pipelines.errors import MachineError
from pipelines.files.atomic import disk_error, locked
from pipelines.package.engine import engine_errors, said
from pipelines.package.image import REPOSITORY
from pipelines.package.settings import DEBIAN_BASE, Settings
from pipelines.package.wheels import ROOT
from pipelines.processes.group import before_exec, end_group, how_it_ended, last_lines
from pipelines.tasks.tasks import Progress

if TYPE_CHECKING:
    from docker import DockerClient

SCRIPT = ROOT / "docker" / "offline" / "make-base.sh"
TITLE = "Debian base"


def debian_base(client: "DockerClient", settings: Settings, progress: Progress) -> str:
    """Return the reference of a Debian 12 image on the engine, pulled or made here if need be.

    Raises:
        MachineError: it can neither be pulled nor made here.
    """
    if settings.debian_base:
        require_base(client, settings.debian_base, "DEBIAN_BASE", progress)
        return settings.debian_base
    offline = offline_reference()
    for reference in (DEBIAN_BASE, offline):
        if has_image(client, reference):
            return reference
    refusal = pull(client, DEBIAN_BASE, progress)
    if refusal is None:
        return DEBIAN_BASE
    with locked(ROOT / "build" / ".base.lock", lambda: progress(TITLE, "waiting for another command")):
        if not has_image(client, offline):
            _make(client, offline, refusal, progress)
    return offline


def require_base(client: "DockerClient", reference: str, variable: str, progress: Progress) -> None:
    """Pull `reference` unless the engine has it.

    Raises:
        MachineError: it cannot be pulled.
    """
    refusal = None if has_image(client, reference) else pull(client, reference, progress)
    if refusal:
        raise MachineError(
            f"the image {reference} is not on the engine and cannot be pulled ({refusal}); load it with "
            f"`docker load`, or name another with {variable}"
        )


def has_image(client: "DockerClient", reference: str) -> bool:
    """Return whether the engine has the image."""
    from docker.errors import ImageNotFound

    try:
        client.images.get(reference)
    except ImageNotFound:
        return False
    return True


def pull(client: "DockerClient", reference: str, progress: Progress) -> str | None:
    """Pull an image; return None if it is here now, else why the registry did not give it."""
    progress(reference, "pulling")
    try:
        client.images.pull(reference)
    except engine_errors() as error:
        return said(error)
    return None


def offline_reference() -> str:
    """Return the reference of the image made here; it changes with the script and its Debian mirrors."""
    mirrors = [os.environ.get(name, "") for name in ("DEBIAN_MIRROR", "DEBIAN_SECURITY_MIRROR")]
    digest = hashlib.sha256("\0".join([SCRIPT.read_text(), *mirrors]).encode()).hexdigest()
    return f"{REPOSITORY}/debian-base:{digest[:12]}"


def _make(client: "DockerClient", reference: str, refusal: str, progress: Progress) -> None:
    lacking = [
        text
        for text, there in (
            ("root", os.geteuid() == 0),
            ("debootstrap (Debian: apt install debootstrap)", shutil.which("debootstrap")),
        )
        if not there
    ]
    if lacking:
        raise MachineError(
            f"{DEBIAN_BASE} cannot be pulled ({refusal}), and making it here needs {' and '.join(lacking)}; "
            "or name a Debian 12 image that the engine has with DEBIAN_BASE"
        )
    progress(TITLE, f"{DEBIAN_BASE} cannot be pulled; making it with debootstrap")
    with tempfile.TemporaryDirectory(prefix="tandem-base-") as folder:
        archive = Path(folder) / "base.tar"
        _run_script(archive, Path(folder) / "log")
        progress(TITLE, "importing")
        repository, tag = reference.rsplit(":", 1)
        with archive.open("rb") as stream:
            client.api.import_image_from_data(
                stream.read(), repository=repository, tag=tag, changes=['CMD ["bash"]']
            )


def _run_script(archive: Path, log: Path) -> None:
    try:
        with archive.open("wb") as output, log.open("wb") as messages:
            code = _wait(output, messages)
    except OSError as error:
        raise disk_error(archive, error) from error
    if code != 0:
        raise MachineError(
            f"debootstrap could not make the Debian base ({how_it_ended(code)}): {last_lines(log, 3)}; "
            "set DEBIAN_MIRROR if Debian's own cannot be reached"
        )


def _wait(output: IO[bytes], messages: IO[bytes]) -> int:
    process = subprocess.Popen(
        [str(SCRIPT)],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=messages,
        start_new_session=True,
        preexec_fn=before_exec(),  # noqa: PLW1509 - only a prctl call, looked up beforehand
    )
    try:
        return process.wait()
    finally:
        end_group(process)

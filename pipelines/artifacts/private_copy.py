"""A server's own copy of what was proven.

Between the proof and the server's start, and while it runs, anybody may export again or change a file; and a
server watches its folder for new versions. So it gets a folder of its own, hashed while it is copied.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from pipelines.artifacts.manifest import Manifest
from pipelines.errors import GateError
from pipelines.files.atomic import disk_error
from pipelines.files.regular import chunks


def copy_proven(folder: Path, manifest: Manifest, destination: Path) -> Path:
    """Copy the files that `manifest` lists from `folder` into the new folder `destination`; returns that.

    Raises:
        GateError: a file is not what was proven.
        MachineError: the disk is full.
    """
    _make(destination)
    for name, proven in manifest.files.items():
        copy = destination / name
        _make(copy.parent)
        if _copy(folder / name, copy) != proven:
            raise _changed(folder / name)
    return destination


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise disk_error(folder, error) from error


def _copy(source: Path, copy: Path) -> str:
    """Copy the content; the SHA-256 of what was copied."""
    digest = hashlib.sha256()
    pieces = chunks(source)
    try:
        with copy.open("xb") as file:
            for chunk in pieces:
                digest.update(chunk)
                file.write(chunk)
    except FileNotFoundError as error:
        raise GateError(f"{source} was verified and is gone; run again") from error
    except OSError as error:
        raise disk_error(copy, error) from error
    return digest.hexdigest()


def _changed(path: Path) -> GateError:
    return GateError(
        f"{path} changed after it was verified: nothing unverified is served; run again, and export with "
        "--force if nobody exports at the same time"
    )


def require_unchanged(before: Mapping[str, Manifest], now: Mapping[str, Manifest]) -> None:
    """Raise GateError if a target's manifest has changed."""
    for target, manifest in before.items():
        if now[target] != manifest:
            raise GateError(
                f"the artifacts of {target} changed while they were looked at; run again when nobody else "
                "exports"
            )

"""Artifacts on disk: what a target exported, with size and digest, and the manifest that remembers it.

artifacts/MODEL/TARGET/…            the files
artifacts/MODEL/TARGET/manifest.json
"""

import gzip
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from importlib import metadata
from pathlib import Path

from pydantic import ValidationError

from models.spec import ModelSpec
from pipelines.errors import GateError, RequestError
from pipelines.files import write_atomically
from pipelines.record import ArtifactRecord, NotExportedRecord, Record

MANIFEST_NAME = "manifest.json"
GZIP_LEVEL = 9
ZSTD_LEVEL = 19


class Manifest(Record):
    """What one target exported from one model, and what it could not.

    `key` changes with anything that could change the files.
    """

    key: str
    model: str
    model_digest: str
    target: str
    artifacts: tuple[ArtifactRecord, ...]
    not_exported: tuple[NotExportedRecord, ...]


def artifact_files(path: Path) -> list[Path]:
    """The file itself, or all files below a folder in a fixed order."""
    return sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]


def size_bytes(path: Path) -> int:
    """Bytes of a file, or of all files below a folder."""
    return sum(file.stat().st_size for file in artifact_files(path))


def gzip_bytes(path: Path) -> int:
    """Bytes after `gzip -9`, each file of a folder by itself: what a download or an app package costs."""
    return sum(
        len(gzip.compress(file.read_bytes(), compresslevel=GZIP_LEVEL, mtime=0))
        for file in artifact_files(path)
    )


def zstd_bytes(path: Path) -> int:
    """Bytes after `zstd -19`, each file of a folder by itself."""
    import pyarrow

    codec = pyarrow.Codec("zstd", compression_level=ZSTD_LEVEL)
    return sum(codec.compress(file.read_bytes()).size for file in artifact_files(path))


def sha256(path: Path) -> str:
    """Digest of a file; of a folder, the digest over its relative names and their digests."""
    if not path.is_dir():
        return hashlib.sha256(path.read_bytes()).hexdigest()
    whole = hashlib.sha256()
    for file in artifact_files(path):
        name = file.relative_to(path).as_posix()
        whole.update(f"{name}\0{hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    return whole.hexdigest()


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Installed versions by distribution name; those not installed are left out. Imports nothing."""

    def found() -> Iterator[tuple[str, str]]:
        for package in packages:
            try:
                yield package, metadata.version(package)
            except metadata.PackageNotFoundError:
                continue

    return dict(found())


def export_key(spec: ModelSpec, toolchain: Mapping[str, str], sources: Iterable[Path]) -> str:
    """Digest of everything an export depends on: model, its folder's code, our exporter, tool versions."""
    model_sources = [*spec.sources, *sorted(spec.checkpoint.parent.glob("*.py"))]
    said = {
        "model": spec.digest,
        "toolchain": dict(sorted(toolchain.items())),
        "sources": [hashlib.sha256(p.read_bytes()).hexdigest() for p in (*model_sources, *sources)],
    }
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest in `folder`; None if there is none that can be read."""
    try:
        return Manifest.model_validate_json((folder / MANIFEST_NAME).read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest atomically."""
    write_atomically(folder / MANIFEST_NAME, manifest.model_dump_json(indent=2) + "\n")


def damage(folder: Path, manifest: Manifest) -> str | None:
    """What is wrong with the first artifact that is not what the manifest says; None if all are whole."""
    for artifact in manifest.artifacts:
        path = folder / artifact.path
        if not path.exists():
            return f"{path} is missing"
        found = sha256(path)
        if found != artifact.sha256:
            return (
                f"{path} has sha256 {found[:12]}… and {size_bytes(path)} bytes, "
                f"its manifest says {artifact.sha256[:12]}… and {artifact.size_bytes} bytes"
            )
    return None


def require_manifest(folder: Path, spec: ModelSpec) -> Manifest:
    """The manifest of whole artifacts that belong to this very model.

    Raises:
        RequestError: nothing was exported, or from another state of the model.
        GateError: an artifact is missing, truncated or changed.
    """
    again = f"run `tandem export {spec.name} --force`"
    manifest = read_manifest(folder)
    if manifest is None:
        raise RequestError(f"{folder} holds no exported artifacts; run `tandem export {spec.name}`")
    if manifest.model_digest != spec.digest:
        raise RequestError(
            f"{folder} was exported from another state of {spec.name} (model digest "
            f"{manifest.model_digest[:12]}…, now {spec.digest[:12]}…); run `tandem export {spec.name}`"
        )
    problem = damage(folder, manifest)
    if problem:
        raise GateError(f"{problem}: the artifact is corrupt; {again}")
    return manifest

"""Artifacts on disk: what a target exported, with size and digest, and the manifest that remembers it.

artifacts/MODEL/TARGET/…            the files
artifacts/MODEL/TARGET/manifest.json

A server is given the whole folder, so the manifest covers the whole folder: what it does not list is refused.
"""

import hashlib
import json
import shlex
import stat
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib import metadata
from pathlib import Path, PurePosixPath
from typing import Self

from pydantic import ValidationError, model_validator

from models.spec import ModelSpec
from pipelines.artifacts.contents import _join, artifact_digests, digest_of
from pipelines.artifacts.owner import require_owner
from pipelines.errors import GateError, MachineError, RequestError
from pipelines.files.atomic import write_atomically
from pipelines.files.regular import entries_below, kind, read_regular, sha256_of_file
from pipelines.record.artifact import ArtifactRecord, NotExportedRecord
from pipelines.record.base import Record

MANIFEST_NAME = "manifest.json"
DEFAULT_ROOT = Path("artifacts")
MANIFEST_LIMIT_BYTES = 64 * 2**20
SHOWN_ENTRIES = 3
# 2: the source model is examined before it is traced, and warnings are kept.
EXPORT_RULES = 2


class Manifest(Record):
    """What one target exported from one model, what it could not, and what its exporter warned of.

    `key` changes with anything that could change the files. `files` holds the SHA-256 of every file of every
    artifact, by its path in the target's folder.
    """

    key: str
    model: str
    model_digest: str
    target: str
    artifacts: tuple[ArtifactRecord, ...]
    not_exported: tuple[NotExportedRecord, ...]
    files: dict[str, str]
    warnings: tuple[str, ...] = ()
    road: str | None = None

    @property
    def failure(self) -> str | None:
        """Why the target has no artifact at all, in one line; None if it has one."""
        if self.artifacts:
            return None
        return "; ".join(dict.fromkeys(omission.told for omission in self.not_exported))

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.artifacts and not self.not_exported:
            raise ValueError("it lists no artifact")
        left = dict(self.files)
        for artifact in self.artifacts:
            own = artifact_digests(self.files, artifact.path)
            if not own:
                raise ValueError(f"{artifact.path!r} has no files")
            if digest_of(own) != artifact.sha256:
                raise ValueError(f"the digest of {artifact.path!r} is not that of its files")
            if any(left.pop(_join(artifact.path, name), None) is None for name in own):
                raise ValueError(f"{artifact.path!r} is listed twice")
        for path in self.files:
            if path == MANIFEST_NAME or not _inside(path):
                raise ValueError(f"{path!r} is no path of a file inside the folder")
        if left:
            raise ValueError(f"{min(left)!r} belongs to no artifact")
        return self


def _inside(path: str) -> bool:
    """Return whether a path is relative, leads nowhere else, and is written in the one way it can be."""
    parts = PurePosixPath(path).parts
    return bool(parts) and path == "/".join(parts) and ".." not in parts and "\0" not in path


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Return installed versions by distribution name, without those not installed. Import nothing."""

    def found() -> Iterator[tuple[str, str]]:
        for package in packages:
            try:
                yield package, metadata.version(package)
            except metadata.PackageNotFoundError:
                continue

    return dict(found())


@cache
def tensorflow_package() -> str:
    """Return the distribution that brings TensorFlow: `tensorflow-cpu`, or `tensorflow` on other machines."""
    return next(iter(versions(("tensorflow-cpu", "tensorflow"))), "tensorflow-cpu")


def export_key(spec: ModelSpec, toolchain: Mapping[str, str], sources: Iterable[Path]) -> str:
    """Digest of everything an export depends on: the model and its code, our exporter, tool versions."""
    model_sources = spec.code
    facts = {
        "rules": EXPORT_RULES,
        "model": spec.digest,
        "toolchain": dict(sorted(toolchain.items())),
        "sources": [hashlib.sha256(p.read_bytes()).hexdigest() for p in (*model_sources, *sources)],
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


# The key of an export that failed for no fault of the model's: it is tried again the next time.
TRY_AGAIN = ""


def require_exported(manifests: Iterable[Manifest]) -> None:
    """Raise if a target could not be exported: MachineError if the machine is at fault, else GateError."""
    for manifest in manifests:
        if manifest.failure is not None:
            kind_of_error = MachineError if manifest.key == TRY_AGAIN else GateError
            raise kind_of_error(f"{manifest.target} could not be exported: {manifest.failure}")


def read_manifest(folder: Path) -> Manifest | None:
    """Read the manifest in `folder`; return None if there is none.

    Raises:
        GateError: there is one, and it cannot be read or contradicts itself.
    """
    path = folder / MANIFEST_NAME
    try:
        return Manifest.model_validate_json(read_regular(path, MANIFEST_LIMIT_BYTES))
    except FileNotFoundError:
        return None
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise GateError(f"{path} is no manifest: {where + ': ' if where else ''}{first['msg']}") from error


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest atomically."""
    write_atomically(folder / MANIFEST_NAME, manifest.model_dump_json(indent=2) + "\n")


def damage(folder: Path, manifest: Manifest) -> str | None:
    """Describe the first listed file that differs from the manifest; return None if all are whole.

    Raises:
        GateError: something is no regular file, and is not opened.
    """
    for artifact in manifest.artifacts:
        files = [
            folder / _join(artifact.path, name) for name in artifact_digests(manifest.files, artifact.path)
        ]
        try:
            problem = _damaged_size(folder / artifact.path, files, artifact) or _damaged_content(
                folder, files, manifest
            )
        except FileNotFoundError as error:
            return f"{error.filename} is missing"
        if problem:
            return problem
    return None


def _damaged_size(path: Path, files: Iterable[Path], artifact: ArtifactRecord) -> str | None:
    """Compare sizes, before any content is read: a sparse file may seem to have no end."""
    size = sum(file.lstat().st_size for file in files)
    if size == artifact.size_bytes:
        return None
    return f"{path} has {size} bytes, its manifest says {artifact.size_bytes}"


def _damaged_content(folder: Path, files: Iterable[Path], manifest: Manifest) -> str | None:
    for file in files:
        digest, listed = sha256_of_file(file), manifest.files[file.relative_to(folder).as_posix()]
        if digest != listed:
            return f"{file} has sha256 {digest[:12]}…, its manifest says {listed[:12]}…"
    return None


def export_command(spec: ModelSpec, folder: Path) -> str:
    """Return the command that exports the model to where `folder` is a target's artifacts."""
    root = folder.parent.parent
    place = "" if root == DEFAULT_ROOT else f" --artifacts {shlex.quote(str(root))}"
    return f"tandem export {spec.argument}{place}"


def require_only_listed(folder: Path, manifest: Manifest, spec: ModelSpec) -> None:
    """Raise GateError if `folder` holds something irregular or something the manifest does not list."""
    if folder.is_symlink():
        raise GateError(f"{folder} is a symbolic link; let the folder above it be one instead")
    files = {*manifest.files, MANIFEST_NAME}
    folders = {parent.as_posix() for path in files for parent in PurePosixPath(path).parents}
    surplus = [
        (name, state.st_mode)
        for name, state in entries_below(folder)
        if not (name in files and stat.S_ISREG(state.st_mode))
        and not (name in folders and stat.S_ISDIR(state.st_mode))
    ]
    if surplus:
        entries = ", ".join(f"{folder / name}{_note(mode)}" for name, mode in surplus[:SHOWN_ENTRIES])
        more = f" and {len(surplus) - SHOWN_ENTRIES} more" if len(surplus) > SHOWN_ENTRIES else ""
        raise GateError(
            f"the manifest does not list {entries}{more}, and a server would be given it unverified; move it "
            f"away, or run `{export_command(spec, folder)} --force`, which replaces the whole folder"
        )


def _note(mode: int) -> str:
    return "" if stat.S_ISREG(mode) else f" ({kind(mode)})"


def require_manifest(folder: Path, spec: ModelSpec) -> Manifest:
    """Return the manifest of whole artifacts that belong to this very model, with nothing beside them.

    Raises:
        RequestError: nothing was exported, or from another model or state of it.
        GateError: an artifact is missing, truncated or changed, or the folder holds something else.
    """
    require_owner(folder.parent, spec)
    manifest = read_manifest(folder)
    if manifest is None:
        raise RequestError(f"{folder} holds no exported artifacts; run `{export_command(spec, folder)}`")
    if manifest.model_digest != spec.digest:
        raise RequestError(
            f"{folder} was exported from another state of {spec.name} (model digest "
            f"{manifest.model_digest[:12]}…, now {spec.digest[:12]}…); run "
            f"`{export_command(spec, folder)}`"
        )
    require_only_listed(folder, manifest, spec)
    problem = damage(folder, manifest)
    if problem:
        raise GateError(f"{problem}: the artifact is corrupt; run `{export_command(spec, folder)} --force`")
    return manifest

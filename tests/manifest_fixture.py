"""A manifest that fits the files of a folder, as an export of a SavedModel would leave it."""

from pathlib import Path

from models.digits_cnn import MODEL
from pipelines.artifacts import contents
from pipelines.artifacts import manifest as artifact


def describe(folder: Path, name: str) -> artifact.ArtifactRecord:
    """The record of one artifact, with the digest and the size it has now."""
    return artifact.ArtifactRecord(
        target="tfserving",
        path=name,
        format="saved-model",
        precision="float32",
        variant=None,
        size_bytes=contents.size_bytes(folder / name),
        gzip_bytes=1,
        sha256=contents.sha256(folder / name),
        export_s=1.5,
        toolchain={},
    )


def manifest_of(folder: Path, *names: str) -> artifact.Manifest:
    """The manifest of a folder with these artifacts, not written."""
    return artifact.Manifest(
        key="key",
        model="digits_cnn",
        model_digest=MODEL.digest,
        target="tfserving",
        artifacts=tuple(describe(folder, name) for name in names),
        not_exported=(),
        files=contents.file_digests(folder, list(names)),
    )

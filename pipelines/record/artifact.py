"""Exported artifacts, as run.json and the manifest of artifacts hold them."""

from pipelines.record.base import Record


class ArtifactRecord(Record):
    """One exported file or folder. `path` is relative to the repository root or absolute.

    `variant` tells artifacts of the same format and precision apart, such as `portable` and `xnnpack`. `road`
    is how it was made, where a target knows more than one way: by a twin, by a converter, by which exporter.
    """

    target: str
    path: str
    format: str
    precision: str
    variant: str | None
    size_bytes: int
    gzip_bytes: int
    sha256: str
    export_s: float
    toolchain: dict[str, str]
    road: str | None = None


class NotExportedRecord(Record):
    """An artifact that could not be written for this model or by this build of a framework, and why.

    Format and precision are empty where the whole target failed.
    """

    target: str
    format: str
    precision: str
    variant: str | None
    reason: str

    @property
    def told(self) -> str:
        """What could not be written, if it is not everything, and why."""
        named = " ".join(part for part in (self.format, self.precision, self.variant) if part)
        return f"{named}: {self.reason}" if named else self.reason

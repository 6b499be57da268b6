"""What an exporter says about each thing it wrote."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Exported:
    """One artifact, `path` relative to the target's folder; `export_s` is its wall time in seconds."""

    path: str
    format: str
    precision: str
    export_s: float

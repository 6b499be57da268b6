"""What an exporter says about each thing it wrote, and about what it could not write."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Exported:
    """One artifact, `path` relative to the target's folder; `export_s` is its wall time in seconds.

    `variant` tells artifacts of the same format and precision apart, such as `portable` and `xnnpack`. `road`
    is how it was made, where its target knows more than one way, and `tools` are the versions of what a road
    into another framework took.
    """

    path: str
    format: str
    precision: str
    export_s: float
    variant: str | None = None
    road: str | None = None
    tools: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class NotExported:
    """An artifact that this model, or this build of a framework, cannot have, and why, in one line."""

    format: str
    precision: str
    reason: str
    variant: str | None = None

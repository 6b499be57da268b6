"""What a command found, before it has a format: checks that passed or failed, and figures with intervals."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

State = Literal["passed", "failed", "skipped"]


@dataclass(frozen=True)
class Check:
    """Something that was looked at.

    Attributes:
        subject: what it is about, such as a target.
        name: which check, unique within the subject.
        sentence: what it makes sure of, for people.
        detail: what was found; why, for a failed or skipped one.
    """

    subject: str
    name: str
    sentence: str
    state: State
    detail: str
    elapsed_s: float = 0.0


@dataclass(frozen=True)
class Figure:
    """A number as run.json holds it, never computed anew.

    Attributes:
        labels: what it belongs to, by kind of thing: model, target, load, ….
        measure: what was measured, such as `p99`.
        unit: of value, low and high; a key of UNITS.
        low, high: the 95 % interval; None without one.
        least, most: of the rounds or the fresh servers that it comes from, where that is all that is known of
            its spread; no interval. None where it has one, or comes from one alone.
    """

    labels: Mapping[str, str]
    measure: str
    unit: str
    value: float
    lower_is_better: bool
    low: float | None = None
    high: float | None = None
    least: float | None = None
    most: float | None = None

    @property
    def ends(self) -> tuple[float, float] | None:
        """The interval, else the least and the most; None without either."""
        for low, high in ((self.low, self.high), (self.least, self.most)):
            if low is not None and high is not None:
                return low, high
        return None

    @property
    def has_interval(self) -> bool:
        """Whether its ends are those of an interval."""
        return self.low is not None and self.high is not None

    @property
    def benchmark(self) -> str:
        """What it belongs to, in one name."""
        return "/".join(self.labels.values())


UNITS: Mapping[str, str] = {
    "ms": "milliseconds",
    "s": "seconds",
    "bytes": "bytes",
    "per_s": "per_second",
    "share": "ratio",
    "ratio": "ratio",
    "price": "",
    "number": "",
    "count": "",
}
"""Units of figures, each with its name in full; "" for those that have none."""


@dataclass(frozen=True)
class Facts:
    """What one command found.

    Attributes:
        command: its name, such as `compare`.
        model: what it was about.
        headline: the result in one sentence.
        lines: what else a summary of a few lines must say.
        passed: whether the command's own check held; None where it has none.
    """

    command: str
    model: str
    headline: str
    started_at_utc: str
    passed: bool | None
    checks: tuple[Check, ...] = ()
    figures: tuple[Figure, ...] = ()
    lines: tuple[str, ...] = field(default=())

    @property
    def title(self) -> str:
        """Of a page or a suite."""
        return f"tandem {self.command} {self.model}"

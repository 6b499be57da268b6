"""Why something was so, as run.json holds it: a code with figures, and no sentence."""

from collections.abc import Mapping

from pydantic import Field

from loadtests.reason import Figure, Reason
from pipelines.record.base import Record


class ReasonRecord(Record):
    """A reason or a warning. `pipelines/report/sentences.py` makes a sentence of it.

    `text` is the code of a sentence of schema version 1, which is its figure `text`.
    """

    code: str
    figures: dict[str, int | float | str | tuple[str, ...] | tuple[float, ...]] = Field(default_factory=dict)


def reason(code: str, **figures: Figure) -> ReasonRecord:
    """Make a reason with its figures by name."""
    return ReasonRecord(code=code, figures=figures)


def recorded(finding: Reason) -> ReasonRecord:
    """Record what the load test or the statistics found."""
    figures: Mapping[str, Figure] = finding.figures
    return ReasonRecord(code=finding.code, figures=dict(figures))

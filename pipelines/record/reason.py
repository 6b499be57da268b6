"""Why something was so, as run.json holds it: a code with figures, and no sentence."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from loadtests.reason import Figure, Reason
from pipelines.record.base import Record


class ReasonRecord(Record):
    """A reason or a warning. `pipelines/report/sentences.py` makes a sentence of it.

    `text` is the code of a sentence of schema version 1, which is its figure `text`.
    """

    code: str
    figures: dict[str, int | float | str | tuple[str, ...] | tuple[float, ...]] = Field(default_factory=dict)


def _of_text(value: Any) -> Any:
    """Turn a sentence of an older record into the reason `text`; leave anything else for the validation."""
    return {"code": "text", "figures": {"text": value}} if isinstance(value, str) else value


ReasonOrText = Annotated[ReasonRecord, BeforeValidator(_of_text)]
"""A reason in a field that held its sentence in records of schema version 2 before it held codes."""


def reason(code: str, **figures: Figure) -> ReasonRecord:
    """Make a reason with its figures by name."""
    return ReasonRecord(code=code, figures=figures)


def recorded(finding: Reason) -> ReasonRecord:
    """Record what the load test or the statistics found."""
    figures: Mapping[str, Figure] = finding.figures
    return ReasonRecord(code=finding.code, figures=dict(figures))

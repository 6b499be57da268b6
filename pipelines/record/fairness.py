"""What the targets were given alike, as run.json holds it."""

from pipelines.record.base import Record


class AsymmetryRecord(Record):
    """Something that the compared targets were not given alike; the run goes on only if it was `allowed`.

    `on_purpose` where the sides were spelled out to differ in it, so that it is what the comparison is about.
    """

    field: str
    values: dict[str, str]
    allowed: bool
    on_purpose: bool = False


class FairnessRecord(Record):
    """What was checked to be alike on all sides, by field and target, and where it was not.

    Only budgets are: what each server makes of its own is its configuration, in `targets.NAME.given`.
    """

    checked: dict[str, dict[str, str]]
    asymmetries: tuple[AsymmetryRecord, ...]

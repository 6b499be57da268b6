"""Were both sides given the same budget? What was given, field by field, and where it differs.

What a server makes of its budget (workers, threads, batching, queues) is its configuration: the report puts
it side by side, and no difference in it stops a comparison.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from pipelines.errors import GateError
from pipelines.record.fairness import AsymmetryRecord, FairnessRecord

NOT_APPLICABLE = "none"


@dataclass(frozen=True)
class Given:
    """The budget of one compared target, as text by field; `NOT_APPLICABLE` where it has no such thing.

    Fields in `INFORMATIVE` are shown and not compared.
    """

    fields: Mapping[str, str]


INFORMATIVE = frozenset({"implementation"})


def check(given: Mapping[str, Given], allowed: Collection[str]) -> FairnessRecord:
    """Compare all sides field by field. A limit that one side does not have is no asymmetry."""
    names = list(dict.fromkeys(field for side in given.values() for field in side.fields))
    checked = {
        field: {target: side.fields.get(field, NOT_APPLICABLE) for target, side in given.items()}
        for field in names
    }
    asymmetries = tuple(
        AsymmetryRecord(field=field, values=values, allowed=field in allowed)
        for field, values in checked.items()
        if field not in INFORMATIVE and len(set(values.values()) - {NOT_APPLICABLE}) > 1
    )
    return FairnessRecord(checked=checked, asymmetries=asymmetries)


def require_fair(record: FairnessRecord) -> None:
    """Stop at an asymmetry nobody asked for.

    Raises:
        GateError: names the field, what each side was given, and how to allow it.
    """
    for asymmetry in record.asymmetries:
        if not asymmetry.allowed:
            sides = ", ".join(f"{target} {value}" for target, value in asymmetry.values.items())
            raise GateError(
                f"unfair comparison: {asymmetry.field} differs ({sides}); give both sides the same, or allow "
                f"it by name with --allow-asymmetry {asymmetry.field}"
            )

"""Were both sides given the same budget? What was given, field by field, and where it differs.

What a server makes of its budget (workers, threads, batching, queues) is its configuration: the report puts
it side by side, and no difference in it stops a comparison.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from pipelines.errors import GateError
from pipelines.record.fairness import AsymmetryRecord, FairnessRecord
from pipelines.targets.side import SideSpec

NOT_APPLICABLE = "none"
NOT_KNOWN = "not known"
"""The value of a running endpoint: nobody can say whether it is alike, and the report says that."""


@dataclass(frozen=True)
class Given:
    """The budget of one compared target, as text by field; `NOT_APPLICABLE` where it has no such thing.

    Fields in `INFORMATIVE` are shown and not compared.
    """

    fields: Mapping[str, str]


INFORMATIVE = frozenset({"implementation"})


def differing(sides: Sequence[SideSpec]) -> frozenset[str]:
    """Return the fields that differ because `--sides` spells the difference out."""
    by_field: dict[str, set[str]] = {
        "preset": {side.preset.name for side in sides},
        "protocol": {side.protocol.transport for side in sides},
        "body": {side.protocol.codec for side in sides},
    }
    spelled = {field for field, values in by_field.items() if len(values) > 1}
    if any(side.address is not None for side in sides):
        spelled |= {"runner", "preset", "payload_bytes"}
    return frozenset(spelled | ({"payload_bytes"} if "body" in spelled else set()))


def check(
    sides: Mapping[str, Given], allowed: Collection[str], on_purpose: Collection[str] = ()
) -> FairnessRecord:
    """Compare all sides field by field. A limit that one side does not have, or may have, is no asymmetry.

    `allowed` was said by name, `on_purpose` is in what was asked to be compared: either may differ.
    """
    names = list(dict.fromkeys(field for side in sides.values() for field in side.fields))
    checked = {
        field: {target: side.fields.get(field, NOT_APPLICABLE) for target, side in sides.items()}
        for field in names
    }
    asymmetries = tuple(
        AsymmetryRecord(
            field=field,
            values=values,
            allowed=field in allowed or field in on_purpose,
            on_purpose=field in on_purpose,
        )
        for field, values in checked.items()
        if field not in INFORMATIVE and len(set(values.values()) - {NOT_APPLICABLE, NOT_KNOWN}) > 1
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

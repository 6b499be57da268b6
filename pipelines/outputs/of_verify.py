"""The checks and figures of a verification: one check per artifact."""

from collections.abc import Iterator
from dataclasses import replace

from pipelines.outputs.facts import Check, Facts, Figure
from pipelines.outputs.of_run import parity_check
from pipelines.verify.stage import Verified


def facts_of_verified(model: str, verified: Verified, started_at_utc: str) -> Facts:
    """Return every artifact with its parity, those that do not run too."""
    records = [record for of_target in verified.records.values() for record in of_target]
    failed = len(verified.failures)
    reference = verified.expected.primary.reference
    failure = f"{failed} of {len(records) + len(verified.errors)} artifacts are not {reference}"
    return Facts(
        command="verify",
        model=model,
        headline=failure if failed else f"all {len(records)} artifacts answer as {reference} does",
        started_at_utc=started_at_utc,
        passed=not failed,
        checks=tuple(_checks(verified)),
        figures=tuple(_figures(model, verified)),
        lines=verified.notes,
    )


def _checks(verified: Verified) -> Iterator[Check]:
    for of_target in verified.records.values():
        for record in of_target:
            check = parity_check(record)
            yield replace(check, detail=verified.mismatches.get(record.subject, check.detail))
    for subject, error in verified.errors.items():
        yield Check(subject, "runs", "it can be loaded and asked", "failed", error)
    for target, why in verified.absent.items():
        yield Check(target, "exported", "there is something to verify", "skipped", why)


def _figures(model: str, verified: Verified) -> Iterator[Figure]:
    for target, of_target in verified.records.items():
        for record in of_target:
            labels = {"model": model, "target": target, "artifact": record.subject.removeprefix(f"{target}/")}
            yield Figure(labels, "largest error", "number", record.max_abs_error, lower_is_better=True)
            if record.accuracy is not None:
                yield Figure(labels, "accuracy", "share", record.accuracy, lower_is_better=False)

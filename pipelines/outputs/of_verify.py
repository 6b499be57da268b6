"""The checks and figures of a verification: one check per artifact."""

from collections.abc import Iterator
from dataclasses import replace

from pipelines.outputs.facts import Check, Facts, Figure
from pipelines.outputs.of_run import parity_check
from pipelines.verify.stage import Verified


def facts_of_verified(model: str, verified: Verified, started_at_utc: str) -> Facts:
    """Return every artifact with its parity, those that do not run too."""
    records = [record for found in verified.records.values() for record in found]
    failed = len(verified.failures)
    told = f"{failed} of {len(records) + len(verified.errors)} artifacts are not the source model"
    return Facts(
        command="verify",
        model=model,
        headline=told if failed else f"all {len(records)} artifacts answer as the source model does",
        started_at_utc=started_at_utc,
        passed=not failed,
        checks=tuple(_checks(verified)),
        figures=tuple(_figures(model, verified)),
        lines=verified.notes,
    )


def _checks(verified: Verified) -> Iterator[Check]:
    for found in verified.records.values():
        for record in found:
            check = parity_check(record)
            yield replace(check, detail=verified.mismatches.get(record.subject, check.detail))
    for subject, error in verified.errors.items():
        yield Check(subject, "runs", "it can be loaded and asked", "failed", error)
    for target, why in verified.absent.items():
        yield Check(target, "exported", "there is something to verify", "skipped", why)


def _figures(model: str, verified: Verified) -> Iterator[Figure]:
    for target, found in verified.records.items():
        for one in found:
            labels = {"model": model, "target": target, "artifact": one.subject.removeprefix(f"{target}/")}
            yield Figure(labels, "largest error", "number", one.max_abs_error, lower_is_better=True)
            if one.accuracy is not None:
                yield Figure(labels, "accuracy", "share", one.accuracy, lower_is_better=False)

"""Which artifact to ship: the smallest that keeps the limits. Pure functions on records."""

from collections.abc import Sequence

from pipelines.config.mobile import MobileLimits
from pipelines.mobile.front import on_front
from pipelines.parity.agreement import (
    accuracy_failure,
    agreement_failure,
    drop_failure,
    output_failure,
    spread_failure,
)
from pipelines.record.mobile import MobileArtifactRecord, MobileGateRecord, MobileRecord
from pipelines.record.parity import ParityRecord
from pipelines.record.reason import ReasonRecord, reason


def judge(mobile: MobileRecord, limits: MobileLimits) -> MobileRecord:
    """Judge every artifact again by these limits, then the front and the choice."""
    # Accuracies on fewer samples do not compare.
    most = max((artifact.samples_count for artifact in mobile.artifacts), default=0)
    fronts = on_front(
        [
            (artifact.size_bytes, artifact.accuracy if artifact.samples_count == most else None)
            for artifact in mobile.artifacts
        ]
    )
    artifacts = tuple(
        artifact.model_copy(update=_verdict(artifact, limits) | {"on_pareto_front": front})
        for artifact, front in zip(mobile.artifacts, fronts, strict=True)
    )
    return mobile.model_copy(update={"artifacts": artifacts, "gate": _choose(artifacts, limits)})


def _verdict(artifact: MobileArtifactRecord, limits: MobileLimits) -> dict[str, object]:
    size = _size_failure(artifact, limits)
    failures = (*_wrong(artifact, limits.max_accuracy_drop), *([size] if size else []))
    return {"failures": failures, "passed": not failures}


def refusals(mobile: MobileRecord) -> tuple[ReasonRecord, ...]:
    """List why the check fails: artifacts that are wrong or do not run, and if none is left to ship.

    The figure `artifact` says whose reason it is, as TARGET/PATH. An artifact that is only larger than the
    limit is not chosen; that alone is no reason to say no.
    """
    allowed = mobile.gate.max_accuracy_drop
    failures = [
        _with(failure, artifact=f"{artifact.target}/{artifact.path}")
        for artifact in mobile.artifacts
        for failure in _wrong(artifact, allowed)
    ]
    if mobile.gate.chosen is None:
        failures.append(reason("none_left") if failures else mobile.gate.reason)
    return tuple(failures)


def _with(why: ReasonRecord, **figures: str) -> ReasonRecord:
    return why.model_copy(update={"figures": {**why.figures, **figures}})


def _wrong(artifact: MobileArtifactRecord, max_drop: float) -> tuple[ReasonRecord, ...]:
    """Return why it may not ship, whatever its size."""
    each = [
        failure for output in artifact.outputs for failure in _output_failures(artifact, output, max_drop)
    ]
    if not artifact.outputs:
        output = output_failure(artifact.output_error, artifact.max_output_error)
        each = [failure for failure in (_choices_failure(artifact, max_drop), output) if failure]
    not_run = reason("not_run", error=artifact.error) if artifact.error else None
    return tuple(failure for failure in (not_run, artifact.mismatch, *each) if failure)


def _output_failures(
    artifact: MobileArtifactRecord, output: ParityRecord, max_drop: float
) -> list[ReasonRecord]:
    """List what one output lost too much of; name the output where there are several."""
    alone = len(artifact.outputs) == 1
    found = (
        _choices_failure(artifact, max_drop) if alone else drop_failure(output, max_drop),
        output_failure(output.output_error, output.max_output_error),
        spread_failure(output.spread_error, output.max_spread_error),
    )
    failures = [failure for failure in found if failure]
    return failures if alone else [_with(failure, output=output.output or "") for failure in failures]


def _choices_failure(artifact: MobileArtifactRecord, allowed: float) -> ReasonRecord | None:
    """Return what it lost of accuracy or, without labels, of agreement; None if it kept that."""
    if artifact.accuracy is not None and artifact.accuracy_drop is not None:
        return accuracy_failure(artifact.accuracy, artifact.accuracy_drop, allowed)
    if artifact.top1_agreement is None:
        is_known = artifact.error or artifact.output_error is not None
        return None if is_known else reason("not_measurable")
    return agreement_failure(artifact.top1_agreement, allowed, "top1_agreement")


def _size_failure(artifact: MobileArtifactRecord, limits: MobileLimits) -> ReasonRecord | None:
    if limits.max_bytes is None or artifact.size_bytes <= limits.max_bytes:
        return None
    return reason("too_large", size_bytes=artifact.size_bytes, limit_bytes=limits.max_bytes)


def _choose(artifacts: Sequence[MobileArtifactRecord], limits: MobileLimits) -> MobileGateRecord:
    passed = sorted((artifact for artifact in artifacts if artifact.passed), key=_rank)
    return MobileGateRecord(
        max_accuracy_drop=limits.max_accuracy_drop,
        max_bytes=limits.max_bytes,
        chosen=passed[0].path if passed else None,
        reason=_why(len(passed), len(artifacts)),
    )


def _why(passed_count: int, artifacts_count: int) -> ReasonRecord:
    if not artifacts_count:
        return reason("none_exported")
    code = "smallest" if passed_count else "none_passes"
    return reason(code, passed_count=passed_count, artifacts_count=artifacts_count)


def _rank(artifact: MobileArtifactRecord) -> tuple[int, float, float, str]:
    """Rank the smallest first, then the most accurate or nearest to the source, the fastest, and by name."""
    p50_ms = artifact.timings[0].p50_ms if artifact.timings else None
    return (
        artifact.size_bytes,
        (artifact.output_error or 0.0) if artifact.accuracy is None else -artifact.accuracy,
        float("inf") if p50_ms is None else p50_ms,
        f"{artifact.target}/{artifact.path}",
    )

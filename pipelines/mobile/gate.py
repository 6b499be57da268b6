"""Which artifact to ship: the smallest that keeps the limits. Pure functions on records."""

from collections.abc import Sequence

from pipelines.config.mobile import MobileLimits
from pipelines.console import format as fmt
from pipelines.mobile.front import on_front
from pipelines.parity.compare import drop_failure, output_failure, spread_failure
from pipelines.record.mobile import MobileArtifactRecord, MobileGateRecord, MobileRecord
from pipelines.record.parity import ParityRecord


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


def refusals(mobile: MobileRecord) -> tuple[str, ...]:
    """List why the check fails: artifacts that are wrong or do not run, and if none is left to ship.

    An artifact that is only larger than the limit is not chosen; that alone is no reason to say no.
    """
    allowed = mobile.gate.max_accuracy_drop
    failures = [
        f"{artifact.target}/{artifact.path}: {failure}"
        for artifact in mobile.artifacts
        for failure in _wrong(artifact, allowed)
    ]
    if mobile.gate.chosen is None:
        failures.append("no artifact is left to ship" if failures else mobile.gate.reason)
    return tuple(failures)


def _wrong(artifact: MobileArtifactRecord, max_drop: float) -> tuple[str, ...]:
    """Return why it may not ship, whatever its size."""
    each = [
        failure for output in artifact.outputs for failure in _output_failures(artifact, output, max_drop)
    ]
    if not artifact.outputs:
        output = output_failure(artifact.output_error, artifact.max_output_error)
        each = [failure for failure in (accuracy_failure(artifact, max_drop), output) if failure]
    return tuple(failure for failure in (_not_run(artifact), artifact.mismatch, *each) if failure)


def _output_failures(artifact: MobileArtifactRecord, output: ParityRecord, max_drop: float) -> list[str]:
    """List what one output lost too much of; name the output where there are several."""
    alone = len(artifact.outputs) == 1
    failures = (
        accuracy_failure(artifact, max_drop) if alone else drop_failure(output, max_drop),
        output_failure(output.output_error, output.max_output_error),
        spread_failure(output.spread_error, output.max_spread_error),
    )
    name = "" if alone else f"output {output.output!r}: "
    return [f"{name}{failure}" for failure in failures if failure]


def accuracy_failure(artifact: MobileArtifactRecord, allowed: float) -> str | None:
    """Describe the metric, its value, what is allowed and the excess; return None if it is kept."""
    if artifact.accuracy_drop is not None:
        if artifact.accuracy_drop <= allowed:
            return None
        beyond = artifact.accuracy_drop - allowed
        return (
            f"accuracy drop {artifact.accuracy_drop:.4f} (accuracy {artifact.accuracy:.4f}), at most "
            f"{allowed:g} is allowed: {beyond:.4f} too much"
        )
    if artifact.top1_agreement is None:
        is_known = artifact.error or artifact.output_error is not None
        return None if is_known else "neither accuracy, top-1 agreement nor output error could be measured"
    beyond = round(1 - artifact.top1_agreement - allowed, 9)
    if beyond <= 0:
        return None
    return (
        f"top-1 agreement {artifact.top1_agreement:.4f}, at least {1 - allowed:g} is allowed: "
        f"{beyond:.4f} too little"
    )


def _size_failure(artifact: MobileArtifactRecord, limits: MobileLimits) -> str | None:
    if limits.max_bytes is None or artifact.size_bytes <= limits.max_bytes:
        return None
    return (
        f"size {_size(artifact.size_bytes)}, at most {_size(limits.max_bytes)} is allowed: "
        f"{_size(artifact.size_bytes - limits.max_bytes)} too much"
    )


def _not_run(artifact: MobileArtifactRecord) -> str | None:
    return f"it could not be measured: {artifact.error}" if artifact.error else None


def _choose(artifacts: Sequence[MobileArtifactRecord], limits: MobileLimits) -> MobileGateRecord:
    passed = sorted((artifact for artifact in artifacts if artifact.passed), key=_rank)
    return MobileGateRecord(
        max_accuracy_drop=limits.max_accuracy_drop,
        max_bytes=limits.max_bytes,
        chosen=passed[0].path if passed else None,
        reason=_why(passed, artifacts, limits),
    )


def _rank(artifact: MobileArtifactRecord) -> tuple[int, float, float, str]:
    """Rank the smallest first, then the most accurate or nearest to the source, the fastest, and by name."""
    p50_ms = artifact.timings[0].p50_ms if artifact.timings else None
    return (
        artifact.size_bytes,
        (artifact.output_error or 0.0) if artifact.accuracy is None else -artifact.accuracy,
        float("inf") if p50_ms is None else p50_ms,
        f"{artifact.target}/{artifact.path}",
    )


def _why(
    passed: Sequence[MobileArtifactRecord], artifacts: Sequence[MobileArtifactRecord], limits: MobileLimits
) -> str:
    rejected = "; ".join(
        f"{artifact.path} ({', '.join(artifact.failures)})" for artifact in artifacts if not artifact.passed
    )
    if not artifacts:
        return "no artifact could be exported for devices"
    if not passed:
        return f"none of {len(artifacts)} artifacts passes: {rejected}"
    best = passed[0]
    only = "the only one that passes" if len(passed) == 1 else f"the smallest of {len(passed)} that pass"
    lead = f"{best.path}, {_size(best.size_bytes)}, is {only}: {_kept(best, limits)}"
    return f"{lead}; rejected: {rejected}" if rejected else f"{lead}; none is rejected"


def _kept(best: MobileArtifactRecord, limits: MobileLimits) -> str:
    allowed = limits.max_accuracy_drop
    facts = []
    if best.accuracy is not None:
        lost = best.accuracy_drop or 0.0
        facts.append(f"accuracy {_plain(fmt.percent(best.accuracy))} (drop {lost:.4f}, allowed {allowed:g})")
    elif best.top1_agreement is not None:
        facts.append(f"top-1 agreement {best.top1_agreement:.4f} (at least {1 - allowed:g} is allowed)")
    elif best.output_error is not None:
        within = "" if best.max_output_error is None else f", allowed {best.max_output_error:g}"
        facts.append(f"output error {best.output_error:.3g} of the source model's standard deviation{within}")
    facts += [
        f"largest error {output.spread_error:.3g} of the range of the targets, "
        f"allowed {output.max_spread_error:g}"
        for output in best.outputs
        if output.spread_error is not None and output.max_spread_error is not None
    ]
    if limits.max_bytes is not None:
        facts.append(f"at most {_size(limits.max_bytes)} allowed")
    if best.timings and best.timings[0].p50_ms is not None:
        p50 = _plain(fmt.milliseconds(best.timings[0].p50_ms))
        facts.append(f"p50 {p50} with one thread on this host's CPU")
    return ", ".join(facts)


def _size(value: int) -> str:
    return _plain(fmt.size(value))


def _plain(text: str) -> str:
    return text.replace(fmt.THIN, " ")

"""What the mobile artifacts of a model say: which to ship, by which limits, and what each is called."""

from pipelines.console import format as fmt
from pipelines.record.mobile import MobileArtifactRecord, MobileRecord, TimingRecord
from pipelines.record.reason import ReasonRecord
from pipelines.record.run import RunRecord
from pipelines.report.sentences import sentence
from pipelines.targets.registry import TARGETS

HOST = "host CPU, not a phone"


def headline(mobile: MobileRecord) -> str:
    """Say which artifact to ship, or that none passes."""
    artifact = chosen(mobile)
    if artifact is not None:
        return fmt.one_line(f"Ship {artifact.path}: {full_name(mobile, artifact)}, {_cost(artifact)}.")
    if mobile.gate.chosen is not None:
        return fmt.one_line(f"Ship {mobile.gate.chosen}.")
    return "No artifact passes: ship none of them."


def reason(mobile: MobileRecord) -> str:
    """Say why this one, with what it keeps, or why none; and why each of the others was rejected."""
    text = choice(mobile)
    # What is chosen begins the sentence, and a path keeps its letters.
    return f"{text}." if mobile.gate.chosen is not None else f"{text[:1].upper()}{text[1:]}."


def choice(mobile: MobileRecord) -> str:
    """Say the same as `reason` in the middle of a sentence."""
    why, best = mobile.gate.reason, chosen(mobile)
    text = sentence(why)
    if why.code == "smallest" and best is not None:
        count = why.figures["passed_count"]
        only = "the only one that passes" if count == 1 else f"the smallest of {count} that pass"
        parts = (
            f"{best.path}, {fmt.size(best.size_bytes)}, is {only}: {_kept(mobile, best)}",
            _rejected(mobile),
        )
        return fmt.one_line("; ".join(parts))
    if why.code == "none_passes":
        return fmt.one_line(f"none of {why.figures['artifacts_count']} artifacts passes: {_failed(mobile)}")
    return fmt.one_line(text)


def _rejected(mobile: MobileRecord) -> str:
    failed = _failed(mobile)
    return f"rejected: {failed}" if failed else "none is rejected"


def _failed(mobile: MobileRecord) -> str:
    return "; ".join(
        f"{artifact.path} ({failures(artifact)})" for artifact in mobile.artifacts if not artifact.passed
    )


def _kept(mobile: MobileRecord, best: MobileArtifactRecord) -> str:
    """Say what the chosen artifact keeps of the source model, within which limits, and how fast it is."""
    allowed = mobile.gate.max_accuracy_drop
    facts = []
    if best.accuracy is not None:
        lost = best.accuracy_drop or 0.0
        facts.append(f"accuracy {fmt.percent(best.accuracy)} (drop {lost:.4f}, allowed {allowed:g})")
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
    if mobile.gate.max_bytes is not None:
        facts.append(f"at most {fmt.size(mobile.gate.max_bytes)} allowed")
    if best.timings and best.timings[0].p50_ms is not None:
        facts.append(f"p50 {fmt.milliseconds(best.timings[0].p50_ms)} with one thread on this host's CPU")
    return ", ".join(facts)


def failures(artifact: MobileArtifactRecord) -> str:
    """Say why it may not ship; nothing if it may."""
    return fmt.one_line("; ".join(map(sentence, artifact.failures)))


def refusal(mobile: MobileRecord, why: ReasonRecord) -> str:
    """Say why the check fails, and of which artifact, for a terminal."""
    subject = f"{why.figures['artifact']}: " if "artifact" in why.figures else ""
    text = choice(mobile) if why == mobile.gate.reason else f"{subject}{sentence(why)}"
    return fmt.one_line(text).replace(fmt.THIN, " ")


def _cost(artifact: MobileArtifactRecord) -> str:
    worth = [] if artifact.accuracy is None else [f"accuracy {fmt.percent(artifact.accuracy)}"]
    if artifact.accuracy is None and artifact.output_error is not None:
        worth = [f"output error {fmt.significant(artifact.output_error)}"]
    return ", ".join([fmt.size(artifact.size_bytes), *worth])


def limits(mobile: MobileRecord) -> str:
    """Describe what the gate asked for."""
    most = mobile.gate.max_bytes
    size = ", in a file of any size" if most is None else f", in a file of at most {fmt.given_size(most)}"
    return f"Asked for: {_worth(mobile)}{size}."


def _worth(mobile: MobileRecord) -> str:
    """Describe what is asked of outputs: an accuracy where they choose classes, else only nearness."""
    if not chooses(mobile):
        return "the source model's outputs, a reduced precision to within its output error"
    source = "" if mobile.source_accuracy is None else f", {fmt.percent(mobile.source_accuracy)}"
    return f"an accuracy at most {_points(mobile.gate.max_accuracy_drop)} below the source model's{source}"


def chooses(mobile: MobileRecord) -> bool:
    """Return whether the outputs choose a class, so that there is an accuracy to speak of."""
    return mobile.task in (None, "classes", "tokens")


def _points(share: float) -> str:
    text = fmt.points(share)
    return f"{text} point" if text == "1" else f"{text} points"


def chosen(mobile: MobileRecord) -> MobileArtifactRecord | None:
    """Return the artifact that the gate picked, by its path."""
    return next(
        (
            artifact
            for artifact in mobile.artifacts
            if artifact.passed and artifact.path == mobile.gate.chosen
        ),
        None,
    )


def name(mobile: MobileRecord, artifact: MobileArtifactRecord) -> str:
    """Return what tells an artifact apart from the others of its target: `int8`, `int8 xnnpack`."""
    return fmt.one_line(" ".join([artifact.precision, *_kind(mobile, artifact)]))


def unique_name(mobile: MobileRecord, artifact: MobileArtifactRecord) -> str:
    """Name the artifact, with the target where two targets have an artifact of that name."""
    alike = [other for other in mobile.artifacts if name(mobile, other) == name(mobile, artifact)]
    return full_name(mobile, artifact) if len(alike) > 1 else name(mobile, artifact)


def full_name(mobile: MobileRecord, artifact: MobileArtifactRecord) -> str:
    """Return the target and what tells the artifact apart: `executorch int8 xnnpack`."""
    return fmt.one_line(f"{artifact.target} {name(mobile, artifact)}")


def file_kind(mobile: MobileRecord, artifact: MobileArtifactRecord) -> str:
    """Return the full name without the precision: `tflite`, `executorch xnnpack`."""
    return fmt.one_line(" ".join([artifact.target, *_kind(mobile, artifact)]))


def _kind(mobile: MobileRecord, artifact: MobileArtifactRecord) -> list[str]:
    """Return the format where the target has several, and the variant."""
    formats = {other.format for other in mobile.artifacts if other.target == artifact.target}
    return [
        *([artifact.format] if len(formats) > 1 else []),
        *([artifact.variant] if artifact.variant else []),
    ]


def by_precision(mobile: MobileRecord) -> list[MobileArtifactRecord]:
    """Sort the artifacts so that both roads stand side by side, precisions in the order of the record."""
    order = list(dict.fromkeys(artifact.precision for artifact in mobile.artifacts))
    return sorted(mobile.artifacts, key=lambda artifact: order.index(artifact.precision))


def share_of_float32(mobile: MobileRecord, artifact: MobileArtifactRecord) -> float | None:
    """Return its size over that of its target's float32 in the same format, and variant if there is one."""
    full = [
        other
        for other in mobile.artifacts
        if (other.target, other.format, other.precision) == (artifact.target, artifact.format, "float32")
    ]
    same = [other for other in full if other.variant == artifact.variant] or full
    return artifact.size_bytes / same[0].size_bytes if same and same[0].size_bytes else None


def delegated_share(artifact: MobileArtifactRecord) -> float | None:
    """Return the share of its operations that run in the delegate."""
    if artifact.delegated_ops_count is None or not artifact.ops_count:
        return None
    return artifact.delegated_ops_count / artifact.ops_count


def single(artifact: MobileArtifactRecord) -> TimingRecord | None:
    """Return what was measured with one thread."""
    return artifact.timings[0] if artifact.timings else None


def all_cores(artifact: MobileArtifactRecord) -> TimingRecord | None:
    """Return what was measured with a thread on every core; None where only one thread was."""
    return artifact.timings[-1] if len(artifact.timings) > 1 else None


def targets(run: RunRecord) -> list[str]:
    """Return the targets of the mobile artifacts, each once."""
    return list(dict.fromkeys(artifact.target for artifact in run.mobile.artifacts)) if run.mobile else []


def road(target: str) -> str:
    """Return the road a target is on, for a legend; empty for one that is not known."""
    return TARGETS[target].road if target in TARGETS else ""


def partly_asked(mobile: MobileRecord) -> list[MobileArtifactRecord]:
    """Return artifacts that were asked fewer samples than the others: their accuracies do not compare."""
    most = max((artifact.samples_count for artifact in mobile.artifacts), default=0)
    return [artifact for artifact in mobile.artifacts if 0 < artifact.samples_count < most]


def asked_less(mobile: MobileRecord) -> str:
    """Name those artifacts and how many samples they were asked; say nothing if there are none."""
    named = [
        f"{full_name(mobile, artifact)} ({fmt.count(artifact.samples_count)} samples)"
        for artifact in partly_asked(mobile)
    ]
    return f" On fewer samples, so not to be compared: {', '.join(named)}." if named else ""


def key(mobile: MobileRecord) -> str:
    """Explain the marks of the figure, and name the artifacts that are not in it."""
    marks = [
        "ring: the one to ship" if chosen(mobile) else "",
        "crossed out: fails the gate" if any(not artifact.passed for artifact in mobile.artifacts) else "",
        "step line: Pareto front" if any(artifact.on_pareto_front for artifact in mobile.artifacts) else "",
        "dashed: the gate's limits, dotted: the source model",
    ]
    without = [full_name(mobile, artifact) for artifact in mobile.artifacts if artifact.accuracy is None]
    without += [full_name(mobile, artifact) for artifact in partly_asked(mobile)]
    absent = f". Without an accuracy on all samples, so not drawn: {', '.join(without)}" if without else ""
    return ", ".join(mark for mark in marks if mark) + absent

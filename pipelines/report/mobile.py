"""What the mobile artifacts of a model say: which to ship, by which limits, and what each is called."""

from pipelines.console import format as fmt
from pipelines.record.mobile import MobileArtifactRecord, MobileRecord, TimingRecord
from pipelines.record.run import RunRecord
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
    """Say why, in the gate's own words."""
    text = fmt.one_line(mobile.gate.reason)
    # What is chosen begins the sentence, and a path keeps its letters.
    return f"{text}." if mobile.gate.chosen is not None else _sentence(text)


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


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

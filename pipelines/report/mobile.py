"""What the mobile artifacts of a model say: which to ship, by which limits, and what each is called."""

from pipelines.console import format as fmt
from pipelines.record.mobile import MobileArtifactRecord, MobileRecord, TimingRecord
from pipelines.record.run import RunRecord
from pipelines.targets.registry import TARGETS

HOST = "host CPU, not a phone"


def headline(mobile: MobileRecord) -> str:
    """Say which artifact to ship, or that none passes."""
    one = chosen(mobile)
    if one is not None:
        return fmt.one_line(f"Ship {one.path}: {full_name(mobile, one)}, {_cost(one)}.")
    if mobile.gate.chosen is not None:
        return fmt.one_line(f"Ship {mobile.gate.chosen}.")
    return "No artifact passes: ship none of them."


def reason(mobile: MobileRecord) -> str:
    """Say why, in the gate's own words."""
    said = fmt.one_line(mobile.gate.reason)
    # What is chosen begins the sentence, and a path keeps its letters.
    return f"{said}." if mobile.gate.chosen is not None else _sentence(said)


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _cost(one: MobileArtifactRecord) -> str:
    worth = [] if one.accuracy is None else [f"accuracy {fmt.percent(one.accuracy)}"]
    if one.accuracy is None and one.output_error is not None:
        worth = [f"output error {fmt.significant(one.output_error)}"]
    return ", ".join([fmt.size(one.size_bytes), *worth])


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
    return next((one for one in mobile.artifacts if one.passed and one.path == mobile.gate.chosen), None)


def name(mobile: MobileRecord, one: MobileArtifactRecord) -> str:
    """Return what tells an artifact apart from the others of its target: `int8`, `int8 xnnpack`."""
    return fmt.one_line(" ".join([one.precision, *_kind(mobile, one)]))


def unique_name(mobile: MobileRecord, one: MobileArtifactRecord) -> str:
    """Name the artifact, with the target where two targets have an artifact of that name."""
    alike = [other for other in mobile.artifacts if name(mobile, other) == name(mobile, one)]
    return full_name(mobile, one) if len(alike) > 1 else name(mobile, one)


def full_name(mobile: MobileRecord, one: MobileArtifactRecord) -> str:
    """Return the target and what tells the artifact apart: `executorch int8 xnnpack`."""
    return fmt.one_line(f"{one.target} {name(mobile, one)}")


def file_kind(mobile: MobileRecord, one: MobileArtifactRecord) -> str:
    """Return the full name without the precision: `tflite`, `executorch xnnpack`."""
    return fmt.one_line(" ".join([one.target, *_kind(mobile, one)]))


def _kind(mobile: MobileRecord, one: MobileArtifactRecord) -> list[str]:
    """Return the format where the target has several, and the variant."""
    formats = {other.format for other in mobile.artifacts if other.target == one.target}
    return [*([one.format] if len(formats) > 1 else []), *([one.variant] if one.variant else [])]


def by_precision(mobile: MobileRecord) -> list[MobileArtifactRecord]:
    """Sort the artifacts so that both roads stand side by side, precisions in the order of the record."""
    order = list(dict.fromkeys(one.precision for one in mobile.artifacts))
    return sorted(mobile.artifacts, key=lambda one: order.index(one.precision))


def share_of_float32(mobile: MobileRecord, one: MobileArtifactRecord) -> float | None:
    """Return its size over that of its target's float32 in the same format, and variant if there is one."""
    full = [
        other
        for other in mobile.artifacts
        if (other.target, other.format, other.precision) == (one.target, one.format, "float32")
    ]
    same = [other for other in full if other.variant == one.variant] or full
    return one.size_bytes / same[0].size_bytes if same and same[0].size_bytes else None


def delegated_share(one: MobileArtifactRecord) -> float | None:
    """Return the share of its operations that run in the delegate."""
    if one.delegated_ops_count is None or not one.ops_count:
        return None
    return one.delegated_ops_count / one.ops_count


def single(one: MobileArtifactRecord) -> TimingRecord | None:
    """Return what was measured with one thread."""
    return one.timings[0] if one.timings else None


def all_cores(one: MobileArtifactRecord) -> TimingRecord | None:
    """Return what was measured with a thread on every core; None where only one thread was."""
    return one.timings[-1] if len(one.timings) > 1 else None


def targets(run: RunRecord) -> list[str]:
    """Return the targets of the mobile artifacts, each once."""
    return list(dict.fromkeys(one.target for one in run.mobile.artifacts)) if run.mobile else []


def road(target: str) -> str:
    """Return the road a target is on, for a legend; empty for one that is not known."""
    return TARGETS[target].road if target in TARGETS else ""


def partly_asked(mobile: MobileRecord) -> list[MobileArtifactRecord]:
    """Return artifacts that were asked fewer samples than the others: their accuracies do not compare."""
    most = max((one.samples_count for one in mobile.artifacts), default=0)
    return [one for one in mobile.artifacts if 0 < one.samples_count < most]


def asked_less(mobile: MobileRecord) -> str:
    """Name those artifacts and how many samples they were asked; say nothing if there are none."""
    named = [
        f"{full_name(mobile, one)} ({fmt.count(one.samples_count)} samples)" for one in partly_asked(mobile)
    ]
    return f" On fewer samples, so not to be compared: {', '.join(named)}." if named else ""


def key(mobile: MobileRecord) -> str:
    """Explain the marks of the figure, and name the artifacts that are not in it."""
    marks = [
        "ring: the one to ship" if chosen(mobile) else "",
        "crossed out: fails the gate" if any(not one.passed for one in mobile.artifacts) else "",
        "step line: Pareto front" if any(one.on_pareto_front for one in mobile.artifacts) else "",
        "dashed: the gate's limits, dotted: the source model",
    ]
    without = [full_name(mobile, one) for one in mobile.artifacts if one.accuracy is None]
    without += [full_name(mobile, one) for one in partly_asked(mobile)]
    absent = f". Without an accuracy on all samples, so not drawn: {', '.join(without)}" if without else ""
    return ", ".join(mark for mark in marks if mark) + absent

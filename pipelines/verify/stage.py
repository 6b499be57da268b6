"""The verify stage: every artifact, reloaded from disk in a fresh process, against the source model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from models import tensors
from models.spec import ModelSpec, load_model
from models.tensors import Tensors, count
from pipelines.artifacts.manifest import MANIFEST_NAME, Manifest, require_exported, require_manifest
from pipelines.artifacts.private_copy import require_unchanged
from pipelines.errors import GateError, MachineError
from pipelines.parity import agreement as parity
from pipelines.parity.quality import Expectations, expectations_of
from pipelines.record.parity import ParityRecord
from pipelines.targets.registry import ORDINARY, SERVED, TARGETS, USUALLY_SERVED
from pipelines.tasks.tasks import Progress, Task, run_tasks, task_of
from pipelines.verify.proof import (
    PROOF_NAME,
    keep_proof,
    proven_records,
    read_proof,
    read_tensors,
    same_question,
    source_outputs,
)
from pipelines.verify.work import SAMPLES_NAME, SOURCE, Answers, Wanted, artifact_outputs, ask_source

# Whoever has not answered all held-out samples by then is taken for hung.
ANSWERS_LIMIT_S = 1800.0


@dataclass(frozen=True)
class Verified:
    """Parity of every artifact by target, and the source model's outputs that all are held against.

    `failures` has one line per artifact that is not the source model, or does not run; empty when the gate
    says yes. By TARGET/PATH: `errors` are those of them that do not run, `mismatches` those that run and are
    not the source model. `manifests` say what was looked at, `absent` which targets nobody exported, and why.
    `notes` belong beside every figure, as of samples that are random numbers.
    """

    records: dict[str, tuple[ParityRecord, ...]]
    expected: Expectations
    accuracy: float | None
    failures: tuple[str, ...]
    errors: dict[str, str] = field(default_factory=dict)
    manifests: dict[str, Manifest] = field(default_factory=dict)
    mismatches: dict[str, str] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def verify(model: str, artifacts: Path, progress: Progress, targets: Sequence[str] | None = None) -> Verified:
    """Compare every exported artifact of `targets` with the source model on the whole held-out set.

    None are all that were exported: a target that cannot be had is no reason to doubt the others.

    A proof of the targets that passed is kept beside the artifacts; a failure of a served one removes it all.

    Raises:
        GateError: an artifact is corrupt, or the samples could not show a difference.
        RequestError: nothing was exported.
    """
    spec = load_model(model)
    root = artifacts / spec.name
    manifests = {name: require_manifest(root / name, spec) for name in _exported(root, targets)}
    before = read_proof(root)
    (root / PROOF_NAME).unlink(missing_ok=True)
    samples = spec.samples()
    with TemporaryDirectory(prefix="tandem-verify-") as folder:
        # Loaded once for all processes: a model's own function may read or compute for seconds.
        tensors.save(Path(folder) / SAMPLES_NAME, samples.named)
        answers = _ask_all(model, spec.digest, root, manifests, Path(folder), progress)
        outputs = {key: read_tensors(path.read_bytes()) for key, path in answers.outputs.items()}
    expected = expectations_of(spec, samples, outputs[SOURCE])
    parity.require_spreads(expected)
    require_unchanged(manifests, {name: require_manifest(root / name, spec) for name in manifests})
    verified = replace(
        _judge(manifests, outputs, answers.errors, expected),
        absent=_absent(spec, manifests, ORDINARY if targets is None else targets),
        notes=_notes(spec),
    )
    keep_proof(root, spec, manifests, verified.records, expected, before)
    return verified


def _exported(root: Path, targets: Sequence[str] | None) -> Sequence[str]:
    """Return the targets to verify; all if none is exported, so that the first error says what to do."""
    if targets is not None:
        return targets
    return [name for name in TARGETS if (root / name / MANIFEST_NAME).exists()] or tuple(TARGETS)


def _absent(spec: ModelSpec, manifests: Mapping[str, Manifest], targets: Sequence[str]) -> dict[str, str]:
    reasons = {}
    for name in targets:
        if name not in manifests:
            reasons[name] = f"not exported (`tandem export {spec.argument}` does)"
        elif not manifests[name].artifacts:
            reasons[name] = "; ".join(omission.reason for omission in manifests[name].not_exported)
    return reasons


def require(verified: Verified) -> Verified:
    """Raise GateError if some artifact does not match the source model; else return `verified`."""
    if verified.failures:
        raise GateError("; ".join(verified.failures))
    return verified


def ensure_verified(
    model: str, artifacts: Path, progress: Progress, targets: Sequence[str] = USUALLY_SERVED
) -> Verified:
    """Return the kept proof if it is about these very artifacts and this model, else verify again.

    A server needs the proof of served targets only: a bad file for devices forbids no comparison of servers.

    Raises:
        GateError: as `verify`, when a target could not be exported, and when an artifact is not the source
            model.
        MachineError: a target could not be exported for a fault of the machine's.
    """
    spec = load_model(model)
    require_exported(require_manifest(artifacts / spec.name / name, spec) for name in targets)
    return require(examine(model, artifacts, progress, targets))


def examine(model: str, artifacts: Path, progress: Progress, targets: Sequence[str]) -> Verified:
    """Verify as `ensure_verified`, but report failures only in the result.

    Raises:
        GateError, RequestError: as `verify`.
    """
    spec = load_model(model)
    root = artifacts / spec.name
    manifests = {name: require_manifest(root / name, spec) for name in targets}
    proof = read_proof(root)
    proven = proven_records(spec, root, manifests)
    outputs = None if proof is None else source_outputs(root, proof)
    # Without manifests nothing else says whether the proof is about this model and these samples.
    same = proof is not None and same_question(proof, spec)
    if proof is None or outputs is None or not same or set(proven) != set(manifests):
        return verify(model, artifacts, progress, targets)
    expected = expectations_of(spec, spec.samples(), outputs)
    return Verified(proven, expected, proof.accuracy, (), manifests=manifests, notes=_notes(spec))


def _notes(spec: ModelSpec) -> tuple[str, ...]:
    return () if spec.given is None else spec.given.notes


def _ask_all(
    model: str, digest: str, root: Path, manifests: Mapping[str, Manifest], folder: Path, progress: Progress
) -> Answers:
    """Ask all at once; should a process die, ask the source once more, and each artifact by itself."""
    served, in_process = _artifact_tasks(model, root, manifests, folder)
    source = task_of("source model", ANSWERS_LIMIT_S, ask_source, model=model, digest=digest, folder=folder)
    answers = Answers()
    try:
        for outcome in run_tasks([source, *served, *in_process], progress):
            answers.add(outcome.result)
    except MachineError:
        for outcome in run_tasks([source], progress):
            answers.add(outcome.result)
        for task in (*served, *in_process):
            _ask_one_by_one(task, answers, progress)
    return answers


def _ask_one_by_one(task: Task[Answers], answers: Answers, progress: Progress) -> None:
    """Ask each artifact in a process of its own, so that one that dies is an error of that artifact alone."""
    for wanted in task.arguments["wanted"]:
        alone = replace(task, title=wanted.key, arguments={**task.arguments, "wanted": [wanted]})
        try:
            (outcome,) = run_tasks([alone], progress)
        except MachineError as error:
            answers.errors[wanted.key] = str(error)
        else:
            answers.add(outcome.result)


def _artifact_tasks(
    model: str, root: Path, manifests: Mapping[str, Manifest], folder: Path
) -> tuple[list[Task[Answers]], list[Task[Answers]]]:
    """Make one task per framework for the served targets, and one per target that runs in process."""
    served: dict[str, list[str]] = {}
    for name, manifest in manifests.items():
        if name in SERVED and manifest.artifacts:
            served.setdefault(TARGETS[name].framework, []).append(name)
    in_process = [name for name in manifests if name not in SERVED]

    def task(title: str, names: list[str]) -> Task[Answers]:
        wanted = [
            Wanted(f"{name}/{a.path}", name, root / name / a.path, a.format)
            for name in names
            for a in manifests[name].artifacts
        ]
        title = f"{title} artifacts"
        return task_of(title, ANSWERS_LIMIT_S, artifact_outputs, model=model, folder=folder, wanted=wanted)

    return (
        [task(framework, names) for framework, names in sorted(served.items())],
        [task(name, [name]) for name in in_process if manifests[name].artifacts],
    )


def _judge(
    manifests: Mapping[str, Manifest],
    outputs: Mapping[str, Tensors],
    errors: Mapping[str, str],
    expected: Expectations,
) -> Verified:
    by_key: dict[str, ParityRecord] = {}
    mismatches: dict[str, str] = {}
    failed = dict(errors)
    for key, precision in _precisions(manifests).items():
        if key not in outputs:
            continue
        expected_here = expected.first(count(outputs[key]))
        try:
            by_key[key] = parity.compare_all(key, outputs[key], expected_here, precision)
        except GateError as error:
            failed[key] = str(error)
        else:
            if not by_key[key].passed:
                mismatches[key] = parity.explain(by_key[key], expected.primary.reference)
    records = {
        name: tuple(by_key[key] for key in _precisions({name: manifest}) if key in by_key)
        for name, manifest in manifests.items()
    }
    accuracy = expected.source_accuracy
    failures = (*failed.values(), *mismatches.values())
    return Verified(records, expected, accuracy, failures, failed, dict(manifests), mismatches)


def _precisions(manifests: Mapping[str, Manifest]) -> dict[str, str]:
    """Return the precision of every artifact, by TARGET/PATH."""
    return {f"{name}/{a.path}": a.precision for name, m in manifests.items() for a in m.artifacts}

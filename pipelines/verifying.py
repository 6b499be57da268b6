"""The verify stage: every artifact, reloaded from disk in a fresh process, against the source model."""

import hashlib
import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from pydantic import ValidationError

from models.spec import FloatArray, ModelSpec, load_model
from pipelines import parity
from pipelines.artifact import Manifest, require_manifest
from pipelines.errors import GateError
from pipelines.files import write_atomically
from pipelines.parity import Expectation
from pipelines.record import ParityRecord, Record
from pipelines.targets.registry import TARGETS
from pipelines.workers import Progress, Task, run_tasks

PROOF_NAME = "verified.json"


class Proof(Record):
    """What was verified, so that an unchanged set of artifacts need not be verified twice."""

    model_digest: str
    artifact_sha256: dict[str, str]
    question_sha256: str
    accuracy: float | None
    records: dict[str, tuple[ParityRecord, ...]]
    source_outputs: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Verified:
    """Parity of every artifact by target, and the source model's outputs that all are held against.

    `failures` has one line per artifact outside tolerance; empty when the gate says yes.
    """

    records: dict[str, tuple[ParityRecord, ...]]
    expected: Expectation
    accuracy: float | None
    failures: tuple[str, ...]


def verify(model: str, artifacts: Path, progress: Progress) -> Verified:
    """Compare every exported artifact with the source model on the whole held-out set.

    The proof of a success is kept beside the artifacts; a failure removes it.

    Raises:
        GateError: an artifact is corrupt, or the samples could not show a difference.
        RequestError: nothing was exported.
    """
    spec = load_model(model)
    root = artifacts / spec.name
    manifests = {name: require_manifest(root / name, spec) for name in TARGETS}
    (root / PROOF_NAME).unlink(missing_ok=True)
    with TemporaryDirectory(prefix="tandem-verify-") as folder:
        tasks = [_source_task(model, folder), *_artifact_tasks(model, root, manifests, folder)]
        outcomes = run_tasks(tasks, progress)
        outputs = {
            key: np.load(path) for outcome in outcomes for key, path in outcome.result["outputs"].items()
        }
        errors = {key: text for outcome in outcomes for key, text in outcome.result["errors"].items()}
    expected = Expectation(outputs["source"], spec.samples().labels, spec.tolerance)
    parity.require_spread(expected)
    verified = _judge(manifests, outputs, errors, expected)
    if not verified.failures:
        _keep_proof(root, spec, manifests, verified)
    return verified


def require(verified: Verified) -> Verified:
    """Raises:
    GateError: some artifact is outside tolerance.
    """
    if verified.failures:
        raise GateError("; ".join(verified.failures))
    return verified


def ensure_verified(model: str, artifacts: Path, progress: Progress) -> Verified:
    """The kept proof if it is about these very artifacts and this model, else a new verification.

    Raises:
        GateError: as `verify`, and when an artifact is outside tolerance.
    """
    spec = load_model(model)
    root = artifacts / spec.name
    manifests = {name: require_manifest(root / name, spec) for name in TARGETS}
    proof = _read_proof(root)
    if proof and _still_holds(proof, spec, manifests):
        outputs = np.asarray(proof.source_outputs, np.float32)
        expected = Expectation(
            outputs.reshape(-1, *[n or 1 for n in spec.output.shape[1:]]),
            spec.samples().labels,
            spec.tolerance,
        )
        return Verified(proof.records, expected, proof.accuracy, ())
    return require(verify(model, artifacts, progress))


def _still_holds(proof: Proof, spec: ModelSpec, manifests: Mapping[str, Manifest]) -> bool:
    return (
        proof.model_digest == spec.digest
        and proof.artifact_sha256 == _digests(manifests)
        and proof.question_sha256 == _question(spec)
    )


def _question(spec: ModelSpec) -> str:
    """Digest of what was asked: the samples, their labels and the tolerance."""
    samples = spec.samples()
    asked = hashlib.sha256(np.ascontiguousarray(samples.inputs).tobytes())
    asked.update(np.ascontiguousarray(samples.labels).tobytes())
    asked.update(repr(spec.tolerance).encode())
    return asked.hexdigest()


def _source_task(model: str, folder: str) -> Task:
    return Task("source model", "pipelines.verifying:source_outputs", {"model": model, "folder": folder})


def _artifact_tasks(model: str, root: Path, manifests: Mapping[str, Manifest], folder: str) -> list[Task]:
    tasks = []
    for framework in sorted({TARGETS[name].framework for name in manifests}):
        wanted = [
            {"target": name, "path": str(root / name / a.path), "format": a.format, "key": f"{name}/{a.path}"}
            for name, manifest in manifests.items()
            if TARGETS[name].framework == framework
            for a in manifest.artifacts
        ]
        arguments = {"model": model, "folder": folder, "wanted": wanted}
        tasks.append(Task(f"{framework} artifacts", "pipelines.verifying:artifact_outputs", arguments))
    return tasks


def source_outputs(model: str, folder: str, progress: Callable[[str], None]) -> dict[str, Any]:
    """In a process of its own: the source model's outputs on the held-out samples, as a .npy file."""
    import torch

    from models.weights import load_source

    progress("running the checkpoint")
    spec = load_model(model)
    module = load_source(spec)
    with torch.inference_mode():
        outputs = module(torch.from_numpy(spec.samples().inputs)).numpy()
    return {"outputs": {"source": _save(outputs, folder, "source")}, "errors": {}}


def artifact_outputs(
    model: str, folder: str, wanted: list[dict[str, str]], progress: Callable[[str], None]
) -> dict[str, Any]:
    """In a process of its own: outputs of one framework's artifacts, reloaded from disk."""
    inputs = load_model(model).samples().inputs
    outputs: dict[str, str] = {}
    errors: dict[str, str] = {}
    for number, entry in enumerate(wanted):
        progress(f"running {Path(entry['path']).name}")
        module, function = TARGETS[entry["target"]].runtime.split(":")
        predict = getattr(importlib.import_module(module), function)
        try:
            result = predict(Path(entry["path"]), entry["format"], inputs)
        except GateError as error:
            errors[entry["key"]] = str(error)
        else:
            outputs[entry["key"]] = _save(result, folder, f"{entry['target']}-{number}")
    return {"outputs": outputs, "errors": errors}


def _save(outputs: FloatArray, folder: str, name: str) -> str:
    path = Path(folder) / f"{name}.npy"
    np.save(path, outputs)
    return str(path)


def _judge(
    manifests: Mapping[str, Manifest],
    outputs: Mapping[str, FloatArray],
    errors: Mapping[str, str],
    expected: Expectation,
) -> Verified:
    records: dict[str, tuple[ParityRecord, ...]] = {}
    failures = list(errors.values())
    for name, manifest in manifests.items():
        keys = [f"{name}/{a.path}" for a in manifest.artifacts if f"{name}/{a.path}" in outputs]
        records[name] = tuple(parity.compare(key, outputs[key], expected) for key in keys)
        failures += [
            parity.explain_failure(record, outputs[record.subject], expected)
            for record in records[name]
            if not record.passed
        ]
    return Verified(records, expected, parity.accuracy(expected.outputs, expected.labels), tuple(failures))


def _digests(manifests: Mapping[str, Manifest]) -> dict[str, str]:
    return {f"{name}/{a.path}": a.sha256 for name, m in manifests.items() for a in m.artifacts}


def _keep_proof(root: Path, spec: ModelSpec, manifests: Mapping[str, Manifest], verified: Verified) -> None:
    flat = verified.expected.outputs.reshape(len(verified.expected.outputs), -1)
    proof = Proof(
        model_digest=spec.digest,
        artifact_sha256=_digests(manifests),
        question_sha256=_question(spec),
        accuracy=verified.accuracy,
        records=verified.records,
        source_outputs=tuple(map(tuple, flat.tolist())),
    )
    write_atomically(root / PROOF_NAME, proof.model_dump_json() + "\n")


def _read_proof(root: Path) -> Proof | None:
    try:
        return Proof.model_validate_json((root / PROOF_NAME).read_bytes())
    except (FileNotFoundError, ValidationError):
        return None

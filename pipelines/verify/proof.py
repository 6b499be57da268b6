"""The proof that artifacts were verified, kept beside them so that nothing unchanged is verified twice."""

import hashlib
import io
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar

import numpy as np
from pydantic import ValidationError

from models import truth
from models.spec import ModelSpec
from models.tensors import Array, Tensors, is_ragged
from pipelines.artifacts.manifest import Manifest, versions
from pipelines.errors import GateError
from pipelines.files.atomic import write_atomically
from pipelines.files.regular import read_regular
from pipelines.imported import reference
from pipelines.parity import agreement as parity
from pipelines.parity import quality, seeding, source, tensorflow_source, watching
from pipelines.parity.quality import Expectations, flat, shapes_of
from pipelines.record.base import Record
from pipelines.record.parity import ParityRecord
from pipelines.targets import asking
from pipelines.targets.registry import SERVED, TARGETS

PROOF_NAME = "verified.json"
OUTPUTS_NAME = "verified-outputs.npz"
PROOF_LIMIT_BYTES = 2**30
OUTPUTS_LIMIT_BYTES = 2**33
# Who passed by older rules, or was asked in another way, is asked and judged again.
MODULES = (parity, quality, seeding, source, tensorflow_source, truth, watching, reference, asking)
RULES = (*(Path(str(module.__file__)) for module in MODULES), Path(__file__).with_name("work.py"))
Value = TypeVar("Value")


class Proof(Record):
    """What was verified, so that unchanged artifacts need not be verified twice.

    Holds the targets all of whose artifacts passed; `artifacts` is precision and digest by target and path,
    `runtimes` a digest of what each target's were asked through. The source model's outputs are in a file
    beside it.
    """

    model_digest: str
    artifacts: dict[str, dict[str, str]]
    runtimes: dict[str, str]
    question_sha256: str
    accuracy: float | None
    records: dict[str, tuple[ParityRecord, ...]]
    source_outputs_sha256: str


def read_proof(root: Path) -> Proof | None:
    """Read the proof in `root`; None if there is none that can be read."""
    try:
        return Proof.model_validate_json(read_regular(root / PROOF_NAME, PROOF_LIMIT_BYTES))
    except (FileNotFoundError, GateError, ValidationError):
        return None


def source_outputs(root: Path, proof: Proof) -> dict[str, Array] | None:
    """Read the source model's outputs that the proof was made with; None if they are gone or changed."""
    try:
        content = read_regular(root / OUTPUTS_NAME, OUTPUTS_LIMIT_BYTES)
    except (FileNotFoundError, GateError):
        return None
    if hashlib.sha256(content).hexdigest() != proof.source_outputs_sha256:
        return None
    return read_tensors(content)


def tensor_bytes(tensors: Tensors) -> bytes:
    """Pack named tensors into an `.npz` without pickles; of ragged samples their shapes too."""
    arrays = {}
    for name, array in tensors.items():
        arrays[f"values {name}"] = flat(array) if is_ragged(array) else array
        if is_ragged(array):
            arrays[f"shapes {name}"] = np.asarray(shapes_of(array), np.int64)
    file = io.BytesIO()
    np.savez(file, **arrays)  # type: ignore[arg-type]
    return file.getvalue()


def read_tensors(content: bytes) -> dict[str, Array]:
    """Read what `tensor_bytes` wrote.

    Raises:
        ValueError: it is something else.
    """
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            arrays = dict(archive)
    except Exception as error:  # a damaged file fails in as many ways as there are to damage one
        raise ValueError(str(error)) from error
    names = [key.partition(" ")[2] for key in arrays if key.startswith("values ")]
    return {name: _whole(arrays[f"values {name}"], arrays.get(f"shapes {name}")) for name in names}


def _whole(values: Array, shapes: Array | None) -> Array:
    if shapes is None:
        return values
    ragged = np.empty(len(shapes), object)
    ends = np.cumsum(shapes.prod(axis=1))
    for place, part in enumerate(np.split(values, ends[:-1])):
        ragged[place] = part.reshape(shapes[place])
    return ragged


def proven_records(
    spec: ModelSpec, root: Path, manifests: Mapping[str, Manifest]
) -> dict[str, tuple[ParityRecord, ...]]:
    """Return the parity of targets for which a kept proof is about these very artifacts and this model."""
    proof = read_proof(root)
    if proof is None or not same_question(proof, spec):
        return {}
    return {
        name: proof.records[name]
        for name, manifest in manifests.items()
        if proof.artifacts.get(name) == _digests(manifest)
        and proof.runtimes.get(name) == runtime_digest(name)
    }


def same_question(proof: Proof, spec: ModelSpec) -> bool:
    """Return whether a proof is about this model, the same samples and the same rules."""
    return proof.model_digest == spec.digest and proof.question_sha256 == question(spec)


def question(spec: ModelSpec) -> str:
    """Digest of what was asked: the samples, their labels, the task, the tolerance and the rules."""
    samples = spec.samples()
    hasher = hashlib.sha256()
    _add(hasher, samples.named)
    for name, truth_known in spec.truths(samples).items():
        truth_arrays = {"labels": truth_known.labels, "targets": truth_known.targets}
        _add(hasher, {f"{name} {what}": array for what, array in truth_arrays.items() if array is not None})
    hasher.update(f"{spec.tolerance} {spec.task}".encode())
    for rule in RULES:
        hasher.update(rule.read_bytes())
    return hasher.hexdigest()


def _add(hasher: "hashlib._Hash", tensors: Tensors) -> None:
    for name, array in tensors.items():
        hasher.update(f"{name} {array.dtype} {array.shape}".encode())
        if is_ragged(array):
            hasher.update(str(shapes_of(array)).encode())
        hasher.update(np.ascontiguousarray(flat(array)).data)


def _digests(manifest: Manifest) -> dict[str, str]:
    return {a.path: f"{a.precision} {a.sha256}" for a in manifest.artifacts}


def runtime_digest(target: str) -> str:
    """Digest of what a target's artifacts are asked through: the code, and the versions of its tools."""
    module = find_spec(TARGETS[target].runtime.partition(":")[0])
    code = Path(str(module.origin)).read_bytes() if module else b""
    return hashlib.sha256(code + str(versions(TARGETS[target].toolchain)).encode()).hexdigest()


def keep_proof(
    root: Path,
    spec: ModelSpec,
    manifests: Mapping[str, Manifest],
    records: Mapping[str, tuple[ParityRecord, ...]],
    expected: Expectations,
    before: Proof | None,
) -> None:
    """Store what passed now, and keep what an earlier proof says of targets not verified now."""
    passed = [name for name, manifest in manifests.items() if _all_passed(manifest, records[name])]
    if any(name in SERVED and name not in passed for name in manifests):
        return
    content = tensor_bytes(expected.tensors)
    write_atomically(root / OUTPUTS_NAME, content)
    proof = Proof(
        model_digest=spec.digest,
        artifacts={name: _digests(manifests[name]) for name in passed},
        runtimes={name: runtime_digest(name) for name in passed},
        question_sha256=question(spec),
        accuracy=expected.source_accuracy,
        records={name: records[name] for name in passed},
        source_outputs_sha256=hashlib.sha256(content).hexdigest(),
    )
    if before is not None and same_question(before, spec):
        others = [name for name in before.records if name not in manifests]
        proof = proof.model_copy(
            update={
                "artifacts": _pick(before.artifacts, others) | proof.artifacts,
                "runtimes": _pick(before.runtimes, others) | proof.runtimes,
                "records": _pick(before.records, others) | proof.records,
            }
        )
    write_atomically(root / PROOF_NAME, proof.model_dump_json() + "\n")


def _all_passed(manifest: Manifest, records: tuple[ParityRecord, ...]) -> bool:
    return len(records) == len(manifest.artifacts) and all(record.passed for record in records)


def _pick(of: Mapping[str, Value], names: list[str]) -> dict[str, Value]:
    return {name: of[name] for name in names}

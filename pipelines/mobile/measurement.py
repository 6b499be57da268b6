"""Measuring every artifact for a device, one after another, each in processes of its own."""

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from models import tensors
from models.spec import ModelSpec
from models.tensors import Tensors
from pipelines.artifacts import contents
from pipelines.artifacts.manifest import Manifest
from pipelines.config.mobile import MobileLimits
from pipelines.errors import UserError
from pipelines.judge.mobile import figures, write_calls
from pipelines.mobile.gate import judge
from pipelines.mobile.inspection import Inspected, inspect_here
from pipelines.mobile.timing import TimingRules, time_here
from pipelines.parity.agreement import differences
from pipelines.parity.quality import Expectations
from pipelines.record.artifact import ArtifactRecord
from pipelines.record.mobile import (
    MobileArtifactRecord,
    MobileGateRecord,
    MobileRecord,
    RuntimeLibraryRecord,
    TimingRecord,
)
from pipelines.record.parity import ParityRecord
from pipelines.record.reason import ReasonRecord, reason
from pipelines.targets.in_process import Inspection
from pipelines.targets.libraries import installed_library
from pipelines.targets.registry import TARGETS
from pipelines.tasks.tasks import Progress, Task, run_tasks, task_of
from pipelines.verify.stage import Verified

# Calls take so many real samples in turn: more would only be conversion work between calls.
SAMPLES_COUNT = 16
NOTHING_KNOWN = Inspection(parameters_count=None, ops_count=None, delegated_ops_count=None, delegate=None)
NOT_MEASURED = "not measured: it was interrupted"


Kind = tuple[str, str]


def threads_counts() -> tuple[int, ...]:
    """Return one thread, then as many as there are cores that this process may use."""
    return tuple(sorted({1, len(os.sched_getaffinity(0))}))


@dataclass(frozen=True)
class Subject:
    """One artifact."""

    target: str
    file: Path
    record: ArtifactRecord

    @property
    def key(self) -> str:
        """TARGET/PATH."""
        return f"{self.target}/{self.record.path}"

    @property
    def kind(self) -> Kind:
        """Artifacts of one kind make their runtime import the same."""
        return self.target, self.record.format


@dataclass
class Survey:
    """All artifacts for devices of one model on their way through the measurement.

    Attributes:
        root: folder of the model's artifacts.
        folder: the run's folder; raw calls go to its `samples`.
        counts: how many threads each artifact is timed with, one after the other.
        modules: by kind of artifact, what its runtime imports when it is first used.
        errors: by TARGET/PATH, why an artifact could not be run.
    """

    spec: ModelSpec
    root: Path
    manifests: Mapping[str, Manifest]
    verified: Verified
    folder: Path
    progress: Progress
    rules: TimingRules = field(default_factory=TimingRules)
    counts: tuple[int, ...] = field(default_factory=threads_counts)
    libraries: dict[Kind, RuntimeLibraryRecord] = field(default_factory=dict)
    inspections: dict[str, Inspection] = field(default_factory=dict)
    modules: dict[Kind, tuple[str, ...]] = field(default_factory=dict)
    timings: dict[str, list[TimingRecord]] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    memory_source: str | None = None
    began: datetime = field(default_factory=lambda: datetime.now(UTC))

    def __post_init__(self) -> None:
        self.errors |= self.verified.errors

    @property
    def subjects(self) -> list[Subject]:
        """All artifacts, target by target."""
        return [
            Subject(name, self.root / name / artifact.path, artifact)
            for name, manifest in self.manifests.items()
            for artifact in manifest.artifacts
        ]

    @property
    def output_names(self) -> list[str]:
        """Names of the model's outputs, in order."""
        return [output.name for output in self.spec.outputs]

    @property
    def done(self) -> str:
        """How many artifacts have been timed, in words."""
        return f"{len(self.timings)} of {len(self.subjects)} artifacts"

    @property
    def failed(self) -> list[str]:
        """The artifacts that ran when they were verified and failed now, by TARGET/PATH."""
        return sorted(self.errors.keys() - self.verified.errors.keys())

    def measure(self) -> None:
        """Look into every artifact, then time each alone; what cannot be run is noted, the others go on.

        Raises:
            MachineError: a runtime's library cannot be found, or the disk refused.
            KeyboardInterrupt: the user asked to stop; what was measured is kept.
        """
        with TemporaryDirectory(prefix="tandem-mobile-") as work:
            samples = Path(work) / "samples.npz"
            tensors.save(samples, _spread(self.spec.samples().named))
            self._look(samples)
            for number, subject in enumerate(self.subjects, start=1):
                if subject.key not in self.errors:
                    self._time(subject, f"[{number}/{len(self.subjects)}]", samples, Path(work))

    def _look(self, samples: Path) -> None:
        """Note the libraries that runtimes need, and what is inside every artifact that runs.

        Artifacts of one kind are opened in one process, all kinds at once; should one die, each artifact once
        more by itself.
        """
        for kind in dict.fromkeys(subject.kind for subject in self.subjects):
            self.libraries[kind] = RuntimeLibraryRecord(**asdict(installed_library(*kind)))
        whole: dict[Kind, list[Subject]] = {}
        for subject in self.subjects:
            if subject.key not in self.errors:
                whole.setdefault(subject.kind, []).append(subject)
        try:
            self._inspect(list(whole.values()), samples)
        except UserError:
            for subject in (subject for subjects in whole.values() for subject in subjects):
                try:
                    self._inspect([[subject]], samples)
                except UserError as error:
                    self.errors[subject.key] = str(error)

    def _inspect(self, groups: list[list[Subject]], samples: Path) -> None:
        tasks = [self._inspection(subjects, samples) for subjects in groups]
        for subjects, outcome in zip(groups, run_tasks(tasks, self.progress), strict=True):
            self.modules.setdefault(subjects[0].kind, outcome.result.modules)
            for subject, inspection in zip(subjects, outcome.result.inspections, strict=True):
                self.inspections[subject.key] = inspection

    def _inspection(self, subjects: list[Subject], samples: Path) -> Task[Inspected]:
        target, artifact_format = subjects[0].kind
        return task_of(
            f"{target} {artifact_format} inspection",
            INSPECTION_LIMIT_S,
            inspect_here,
            runtime=TARGETS[target].runtime_module,
            artifacts=[(subject.file, subject.record.format) for subject in subjects],
            samples=samples,
            outputs=self.output_names,
        )

    def _time(self, subject: Subject, place: str, samples: Path, work: Path) -> None:
        for threads_count in self.counts:
            threads = "1 thread" if threads_count == 1 else f"{threads_count} threads"
            self.progress("mobile", f"{place} {subject.record.path}, {threads}")
            try:
                timing = self._time_once(subject, threads_count, samples, work)
            except UserError as error:
                self.errors[subject.key] = str(error)
                return
            self.timings.setdefault(subject.key, []).append(timing)

    def _time_once(self, subject: Subject, threads_count: int, samples: Path, work: Path) -> TimingRecord:
        calls = work / "calls.npy"
        task = task_of(
            subject.key,
            TIMING_LIMIT_S,
            time_here,
            runtime=TARGETS[subject.target].runtime_module,
            artifact=subject.file,
            artifact_format=subject.record.format,
            threads_count=threads_count,
            samples=samples,
            outputs=self.output_names,
            modules=self.modules.get(subject.kind, ()),
            calls=calls,
            rules=self.rules,
        )
        (outcome,) = run_tasks([task], _quiet)
        found = asdict(outcome.result)
        self.memory_source = found.pop("memory_source")
        calls_ns = np.load(calls, allow_pickle=False)
        name = f"samples/mobile-{subject.key.replace('/', '-')}-{threads_count}.npz"
        write_calls(self.folder / name, calls_ns)
        return TimingRecord(threads_count=threads_count, samples_file=name, **found, **figures(calls_ns))

    def record(self, limits: MobileLimits) -> MobileRecord:
        """Return the record so far, judged by `limits`."""
        subjects = self.subjects
        record = MobileRecord(
            measured_at_utc=f"{self.began:%Y-%m-%dT%H:%M:%SZ}",
            memory_source=self.memory_source,
            source_accuracy=self.verified.accuracy,
            task=self.verified.expected.primary.task,
            source_target_rmse=_target_rmse(self.verified.expected),
            artifacts=tuple(map(self._describe, subjects)),
            not_exported=tuple(r for manifest in self.manifests.values() for r in manifest.not_exported),
            runtimes={library.name: library for library in self.libraries.values()},
            gate=MobileGateRecord(
                max_accuracy_drop=limits.max_accuracy_drop,
                max_bytes=None,
                chosen=None,
                reason=reason("none_exported"),
            ),
        )
        return judge(record, limits)

    def _describe(self, subject: Subject) -> MobileArtifactRecord:
        parity_record = self._parity(subject)
        artifact, inspection = subject.record, self.inspections.get(subject.key, NOTHING_KNOWN)
        timings = tuple(self.timings.get(subject.key, ()))
        error = self.errors.get(subject.key) or (None if timings else NOT_MEASURED)
        return MobileArtifactRecord(
            target=artifact.target,
            path=artifact.path,
            format=artifact.format,
            precision=artifact.precision,
            variant=artifact.variant,
            size_bytes=artifact.size_bytes,
            gzip_bytes=artifact.gzip_bytes,
            zstd_bytes=contents.zstd_bytes(subject.file),
            sha256=artifact.sha256,
            **asdict(inspection),
            samples_count=parity_record.samples_count if parity_record else 0,
            accuracy=parity_record.accuracy if parity_record else None,
            accuracy_drop=_drop(self.verified.expected, parity_record),
            top1_agreement=parity_record.top1_agreement if parity_record else None,
            **_errors(parity_record),
            outputs=parity_record.outputs or (parity_record,) if parity_record else (),
            mismatch=_mismatch(parity_record),
            timings=timings,
            runtime_library=self.libraries[subject.kind].name
            if subject.kind in self.libraries
            else artifact.target,
            on_pareto_front=False,
            passed=False,
            failures=(),
            error=error,
        )

    def _parity(self, subject: Subject) -> ParityRecord | None:
        records = self.verified.records[subject.target]
        return next((record for record in records if record.subject == subject.key), None)


# Beyond these a process is taken for hung that looks into artifacts, or times one.
INSPECTION_LIMIT_S, TIMING_LIMIT_S = 1800.0, 900.0


def _spread(inputs: Tensors) -> Tensors:
    """Take a few samples from all over the held-out set."""
    step = max(1, tensors.count(inputs) // SAMPLES_COUNT)
    return tensors.take(tensors.take(inputs, slice(None, None, step)), slice(SAMPLES_COUNT))


def _target_rmse(expected: Expectations) -> float | None:
    rmses = (expectation.target_rmse(expectation.outputs) for expectation in expected)
    return next((rmse for rmse in rmses if rmse is not None), None)


def _drop(expected: Expectations, parity_record: ParityRecord | None) -> float | None:
    """Return how much less accurate it is than the source model on the very samples it was asked."""
    if parity_record is None or parity_record.accuracy is None:
        return None
    before = expected.first(parity_record.samples_count).source_accuracy
    return None if before is None else round(before - parity_record.accuracy, 9)


def _errors(parity_record: ParityRecord | None) -> dict[str, Any]:
    names = ("max_abs_error", "rmse", "output_error", "max_output_error", "target_rmse")
    return {name: getattr(parity_record, name) if parity_record else None for name in names}


def _mismatch(parity_record: ParityRecord | None) -> ReasonRecord | None:
    """Return why a float32 artifact is not the source model; the gate judges reduced precisions."""
    if parity_record is None or parity_record.passed or parity_record.absolute_tolerance is None:
        return None
    return next(iter(differences(parity_record)), None)


def _quiet(title: str, text: str) -> None:
    """Show nothing: what happens inside one measurement is too short."""

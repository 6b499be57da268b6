"""The mobile stage: export for devices, check each artifact's accuracy, measure each, choose one."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from loadtests.validity import FOREIGN_CPU_LIMIT, STEAL_LIMIT
from models.spec import ModelSpec, load_model
from pipelines.config.mobile import MobileLimits, MobileSettings
from pipelines.errors import GateError
from pipelines.export.stage import ExportResult, export
from pipelines.machine.cores import split_cores
from pipelines.mobile import kept
from pipelines.mobile.gate import refusals
from pipelines.mobile.measurement import Survey, threads_counts
from pipelines.record.fairness import FairnessRecord
from pipelines.record.mobile import MobileRecord, TimingRecord
from pipelines.record.reason import ReasonRecord, reason
from pipelines.record.run import RunRecord
from pipelines.report.mobile import refusal
from pipelines.run.conclusion import conclude_whole
from pipelines.run.entries import RunFacts, run_record
from pipelines.run.run import Status, new_run_folder, publish
from pipelines.targets.registry import IN_PROCESS
from pipelines.tasks.tasks import Progress
from pipelines.verify.stage import Verified, examine


@dataclass(frozen=True)
class Prepared:
    """Exported artifacts that were held against the source model; `key` is what a measurement is kept by."""

    exported: ExportResult
    verified: Verified
    root: Path
    key: str


def measure_mobile(
    settings: MobileSettings, command: Sequence[str], progress: Progress
) -> tuple[RunRecord, Path]:
    """Measure every artifact for devices and choose one; returns the finished record and the run's folder.

    What the gate says is in the record: `require_gate` asks it. When the run is interrupted it returns what
    was measured, with status "interrupted".

    Raises:
        ModelError, RequestError: something asked for does not exist.
        GateError: an artifact is corrupt, or the samples could not show a difference.
        MachineError: an export failed, or the disk refused.
    """
    started = datetime.now(UTC)
    spec = load_model(settings.model)
    prepared = prepare(
        settings.model,
        settings.artifacts,
        progress,
        targets=settings.targets,
        force=settings.force,
        road=settings.road,
    )
    folder = new_run_folder(settings.runs, spec.name)
    survey = survey_of(settings.model, prepared, folder, progress)

    def finish(status: Status, reason: str | None) -> RunRecord:
        mobile = survey.record(settings.limits)
        facts = RunFacts(
            kind="mobile",
            run_id=folder.name,
            command=tuple(command),
            started=started,
            ended=datetime.now(UTC),
            status=status,
            status_reason=reason,
            payloads={},
            fairness=FairnessRecord(checked={}, asymmetries=()),
            slo=None,
            mobile=mobile,
            warnings=(*noise_warnings(mobile), *sample_warnings(mobile, spec)),
        )
        record = run_record(spec, prepared.exported, prepared.verified, split_cores(), facts)
        publish(record, folder)
        return record

    def measure() -> None:
        survey.measure()
        if set(settings.targets) == set(IN_PROCESS):
            _keep(prepared, survey, survey.record(settings.limits))

    return conclude_whole(measure, finish, folder, lambda: str(survey.done)), folder


def require_gate(run: RunRecord) -> None:
    """Raise GateError if an artifact lost too much accuracy or does not run, or if none is left to ship."""
    if run.mobile and (reasons := refusals(run.mobile)):
        raise GateError("; ".join(refusal(run.mobile, why) for why in reasons))


def prepare(
    model: str,
    artifacts: Path,
    progress: Progress,
    *,
    targets: Sequence[str] = IN_PROCESS,
    force: bool = False,
    road: str | None = None,
) -> Prepared:
    """Export what is missing, and hold every artifact against the source model unless that is proven.

    Raises:
        As `measure_mobile`.
    """
    spec = load_model(model)
    exported = export(model, artifacts, progress, targets=targets, force=force, road=road)
    verified = examine(model, artifacts, progress, targets)
    return Prepared(exported, verified, artifacts / spec.name, kept.key_of(spec, exported.manifests))


def survey_of(
    model: str, prepared: Prepared, folder: Path, progress: Progress, counts: Sequence[int] | None = None
) -> Survey:
    """Survey all artifacts, nothing measured yet; raw calls will go into the run's `folder`.

    Each is to be timed with every number of threads in `counts`; None: one, and as many as there are cores.
    """
    manifests = prepared.exported.manifests
    wanted = threads_counts() if counts is None else tuple(counts)
    return Survey(
        load_model(model), prepared.root, manifests, prepared.verified, folder, progress, counts=wanted
    )


def measure_or_recall(
    model: str,
    prepared: Prepared,
    folder: Path,
    progress: Progress,
    note: Callable[[MobileRecord], None],
    counts: Sequence[int] | None = None,
) -> None:
    """Note the kept record if it is about these artifacts on this machine; else measure, note and keep.

    `counts` as in `survey_of`; a record that is kept may have more.

    Raises:
        MachineError: the disk refused.
        KeyboardInterrupt: the user asked to stop; what was measured was noted.
    """
    survey = survey_of(model, prepared, folder, progress, counts)
    remembered = kept.recall(prepared.root, prepared.key, folder, survey.counts)
    if remembered is not None:
        note(remembered)
        return
    try:
        survey.measure()
    except KeyboardInterrupt:
        note(survey.record(MobileLimits()))
        raise
    mobile = survey.record(MobileLimits())
    note(mobile)
    _keep(prepared, survey, mobile)


def _keep(prepared: Prepared, survey: Survey, mobile: MobileRecord) -> None:
    """Keep what was measured; what failed may run the next time."""
    kept.keep(prepared.root, prepared.key, mobile, survey.folder, survey.failed)


def noise_warnings(mobile: MobileRecord) -> tuple[ReasonRecord, ...]:
    """Warn if other programs or other guests of the host used the CPU meanwhile."""
    timings = [timing for artifact in mobile.artifacts for timing in artifact.timings]
    noisy = [timing for timing in timings if not _quiet(timing)]
    if not noisy:
        return ()
    foreign = max(timing.foreign_cpu_share or 0 for timing in noisy)
    steal = max(timing.cpu_steal_share or 0 for timing in noisy)
    return (
        reason(
            "mobile_noise",
            noisy_count=len(noisy),
            timings_count=len(timings),
            foreign_share=foreign,
            foreign_limit=FOREIGN_CPU_LIMIT,
            steal_share=steal,
            steal_limit=STEAL_LIMIT,
        ),
    )


def sample_warnings(mobile: MobileRecord, spec: ModelSpec) -> tuple[ReasonRecord, ...]:
    """Warn of artifacts that are too slow here to be asked the whole held-out set."""
    count = len(spec.samples())
    counts_by_path = {
        artifact.path: artifact.samples_count
        for artifact in mobile.artifacts
        if 0 < artifact.samples_count < count
    }
    if not counts_by_path:
        return ()
    return (
        reason(
            "fewer_samples",
            samples_count=count,
            paths=tuple(counts_by_path),
            samples_counts=tuple(counts_by_path.values()),
        ),
    )


def _quiet(timing: TimingRecord) -> bool:
    foreign, steal = timing.foreign_cpu_share or 0, timing.cpu_steal_share or 0
    return foreign <= FOREIGN_CPU_LIMIT and steal <= STEAL_LIMIT

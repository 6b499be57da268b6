"""A run from start to end, whatever it measures: its folder, its record after every round, its report.

The record on disk is rewritten after every round, so whatever ends a run, what it measured is kept.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Literal

from models.spec import ModelSpec, load_model
from pipelines.config.settings import RunSettings
from pipelines.export.stage import ExportResult, current, export
from pipelines.files.atomic import disk_error, make_first, update_link
from pipelines.judge.summarise import summarise
from pipelines.measure.fairness import check, differing, require_fair
from pipelines.measure.session import Session
from pipelines.measure.sides import Side, make_sides
from pipelines.record.fairness import FairnessRecord
from pipelines.record.mobile import MobileRecord
from pipelines.record.reason import ReasonRecord
from pipelines.record.run import ProfileRecord, RunRecord
from pipelines.record.sequential import LookRecord, SequentialRecord
from pipelines.record.slo import RatePointRecord, SloRecord
from pipelines.record.target import PayloadRecord
from pipelines.record.tune import TuneRecord
from pipelines.report import write_report
from pipelines.report.json import write_run
from pipelines.run import entries
from pipelines.run.failing import Kept, carry, fail
from pipelines.run.warnings import endpoint_warnings
from pipelines.runners.server import Runner
from pipelines.targets.apis import introduce
from pipelines.targets.registry import IN_PROCESS
from pipelines.targets.server_plan import make_environments
from pipelines.targets.side import require_readable
from pipelines.tasks.tasks import Progress
from pipelines.verify.proof import proven_records
from pipelines.verify.stage import Verified, ensure_verified

Kind = Literal["compare", "slo", "tune"]
Status = Literal["complete", "interrupted", "failed"]
UNFINISHED = "the run has not ended, or was killed; `tandem report RUN` rebuilds its report"


@dataclass
class Run:
    """A run on its way.

    Attributes:
        folder: runs/ID, where everything goes.
        fairness: set when all servers are planned.
        mobile: the artifacts for devices, if they are part of this run.
        warnings: what else a reader must know.
        slo: what an SLO search is about, its figures still empty; None in a comparison.
        slo_points: by target, what the search has measured so far.
        tune: the search for a configuration so far; None in a run of another kind.
        looks: at the verdicts, of a comparison whose blocks are added until it is decided.
    """

    kind: Kind
    settings: RunSettings
    spec: ModelSpec
    command: tuple[str, ...]
    exported: ExportResult
    verified: Verified
    folder: Path
    session: Session
    payloads: dict[str, PayloadRecord]
    started: datetime
    fairness: FairnessRecord = field(default_factory=lambda: FairnessRecord(checked={}, asymmetries=()))
    mobile: MobileRecord | None = None
    warnings: list[ReasonRecord] = field(default_factory=list)
    slo: SloRecord | None = None
    slo_points: dict[str, list[RatePointRecord]] = field(default_factory=dict)
    tune: TuneRecord | None = None
    looks: list[LookRecord] = field(default_factory=list)

    def adopt(self, session: Session) -> None:
        """Take a session's servers and rounds for those of the run."""
        self.session, session.on_plans, session.on_round = session, self.check_fairness, self.save

    def check_fairness(self) -> None:
        """Look at what the planned servers are given, and stop at an asymmetry nobody asked for.

        Raises:
            GateError: an asymmetry.
        """
        budgets = entries.given(self.session, self.spec)
        on_purpose = differing(self.settings.sides)
        self.fairness = check(budgets, self.settings.allowed_asymmetries, on_purpose)
        require_fair(self.fairness)

    def save(self) -> None:
        """Write what is known so far; figures are computed when the run ends.

        Raises:
            MachineError: the disk refused.
        """
        try:
            write_run(self.record("interrupted", UNFINISHED), self.folder)
        except OSError as error:
            raise disk_error(self.folder / "run.json", error) from error

    def record(self, status: Status, reason: str | None, ended: datetime | None = None) -> RunRecord:
        """Return the record as of now, without any figure that comes from raw files."""
        facts = entries.RunFacts(
            kind=self.kind,
            run_id=self.folder.name,
            command=self.command,
            started=self.started,
            ended=ended,
            status=status,
            status_reason=reason,
            payloads=self.payloads,
            fairness=self.fairness,
            slo=self._slo(),
            mobile=self.mobile,
            warnings=tuple(self.warnings),
        )
        record = entries.build_record(
            self.settings, self.spec, self.exported, self.verified, self.session, facts
        )
        return record.model_copy(update={**self._sequential(record.profile), "tune": self.tune})

    def _sequential(self, profile: ProfileRecord | None) -> dict[str, object]:
        """Return what is different in the record of a comparison that ends when it is decided."""
        limit_s = self.settings.decide_within_s
        if limit_s is None or profile is None:
            return {}
        measured = len(self.looks) or 1
        return {
            "profile": profile.model_copy(update={"blocks": measured}),
            "sequential": SequentialRecord(decide_within_s=limit_s, looks=tuple(self.looks)),
        }

    def _slo(self) -> SloRecord | None:
        if self.slo is None:
            return None
        targets = {
            name: target.model_copy(update={"points": tuple(self.slo_points.get(name, ()))})
            for name, target in self.slo.targets.items()
        }
        return self.slo.model_copy(update={"targets": targets})


def start_run(
    kind: Kind,
    settings: RunSettings,
    runner: Runner,
    command: Sequence[str],
    progress: Progress,
    *,
    folder: Path | None = None,
    tune: TuneRecord | None = None,
) -> Run:
    """Do all that comes before the first server: export, verify, make the folder, write the first record.

    Args:
        folder: of a run that goes on where it ended; None for a new one.
        tune: of a search for a configuration, what it found so far.

    Raises:
        ModelError, RequestError: something asked for does not exist.
        GateError: an artifact does not answer like the source model.
        MachineError: the environment failed.
    """
    spec = load_model(settings.model)
    require_readable(settings.sides, spec)
    for side in settings.running:
        if side.address is not None:
            progress("endpoints", f"asking {side.name} at {side.address} what it serves")
            introduce(side.name, side.address, settings.accesses.of(side.name), spec)
    warnings = endpoint_warnings(settings)
    for warning in warnings:
        core = warning.figures["generator_cores"]
        progress("endpoints", f"{warning.figures['side']} may use core {core}, where its load is generated")
    builds = _verified_builds(settings, progress)
    # Builds are served as they are; nothing is exported for them.
    targets = () if builds else settings.targets
    if settings.runner == "local":
        make_environments(settings.targets, progress)
    exported = export(settings.model, settings.artifacts, progress, targets=targets, road=settings.road)
    own = next(iter(builds.values()), None)
    verified = own or ensure_verified(settings.model, settings.artifacts, progress, targets)
    exported, verified = _with_in_process(settings, spec, exported, verified)
    folder = folder or new_run_folder(settings.runs, spec.name)
    sides = make_sides(settings, spec, verified, runner, builds)
    counted = kind == "compare" and settings.decide_within_s is None
    session = Session(settings, sides, folder, progress, counted=counted)
    payloads = describe_payloads(sides)
    started = datetime.now(UTC)
    run = Run(kind, settings, spec, tuple(command), exported, verified, folder, session, payloads, started)
    run.tune = tune
    run.warnings += warnings
    run.adopt(session)
    run.save()
    return run


def describe_payloads(sides: Sequence[Side]) -> dict[str, PayloadRecord]:
    """Describe what the requests of every side carry, by its name."""
    return {side.name: entries.describe_payload(side.pool("/")) for side in sides if side.control_of is None}


def _verified_builds(settings: RunSettings, progress: Progress) -> dict[str, Verified]:
    """Verify every side that is a build; verify one folder's targets once."""
    targets = {side.name: side.target for side in settings.sides}
    proven = {
        folder: ensure_verified(
            settings.model,
            folder,
            progress,
            tuple(dict.fromkeys(t for name, t in targets.items() if settings.folders.get(name) == folder)),
        )
        for folder in dict.fromkeys(settings.folders.values())
    }
    return {name: proven[folder] for name, folder in settings.folders.items()}


def _with_in_process(
    settings: RunSettings, spec: ModelSpec, exported: ExportResult, verified: Verified
) -> tuple[ExportResult, Verified]:
    """Add those artifacts for devices that are there and whole, and what is proven of them."""
    manifests = current(settings.model, settings.artifacts, IN_PROCESS)
    proven = proven_records(spec, settings.artifacts / spec.name, manifests)
    return (
        replace(exported, manifests={**exported.manifests, **manifests}),
        replace(verified, records={**verified.records, **proven}),
    )


def new_run_folder(runs: Path, model: str) -> Path:
    """Make a new folder named by the time (UTC) and the model."""
    while True:
        folder = runs / f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{model}"
        try:
            # What is there and is no folder, such as a link to nowhere, is an error and not another's run.
            runs.mkdir(parents=True, exist_ok=True)
            if make_first(folder, "run.json", ["samples", "logs"]):
                return folder
        except OSError as error:
            raise disk_error(folder, error) from error
        time.sleep(1)  # another run started in the same second


def conclude(run: Run, measure: Callable[[Run], None]) -> RunRecord:
    """Measure, and finish the record however that ends.

    Raises:
        UserError: what a person can act on, with the folder in which what was measured is kept.
        BaseException: anything else as it was raised; the record is finished as far as that still works.
            Either carries the record (see `carried_by`).
    """
    try:
        measure(run)
        return _finish(run, "complete", None)
    except KeyboardInterrupt:
        return _finish(run, "interrupted", f"interrupted after {run.session.rounds_count} rounds")
    except BaseException as error:  # noqa: BLE001 - raised again
        fail(error, partial(_finish_failed, run, error))


def _finish_failed(run: Run, error: BaseException, reason: str) -> str:
    """Finish a run that failed, and say where it is kept; a second failure must not hide the first.

    The record comes first, without figures: it takes least of what may be short, memory or disk.
    """
    kept_note = f"; {run.session.rounds_count} measured rounds are kept in {run.folder}"
    try:
        record = run.record("failed", reason, datetime.now(UTC))
        carry(error, Kept(record, run.folder))
        write_run(record, run.folder)
        carry(error, Kept(_finish(run, "failed", reason), run.folder))
    except Exception:  # noqa: BLE001 - whatever it is, the run's own failure is the one to tell
        kept_note += f", its report is not: make room, then run `tandem report {run.folder}`"
    return kept_note


def _finish(run: Run, status: Status, reason: str | None) -> RunRecord:
    """Compute every figure from the raw files, write the report, and let runs/latest point here."""
    record = summarise(run.record(status, reason, datetime.now(UTC)), run.folder)
    publish(record, run.folder)
    return record


def publish(record: RunRecord, folder: Path) -> None:
    """Write the report into the run's folder and let `latest` beside it point there.

    Raises:
        MachineError: the disk refused.
    """
    try:
        write_report(record, folder)
        update_link(folder.parent / "latest", folder.name)
    except OSError as error:
        raise disk_error(folder, error) from error

"""The compare stage: serve every target, prove its answers, measure round by round, and record it all."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from pipelines.compare.looks import Deciding
from pipelines.config.mobile import MobileLimits
from pipelines.config.settings import RunSettings
from pipelines.errors import UserError
from pipelines.measure.blocks import measure_blocks
from pipelines.measure.in_process import time_sides
from pipelines.mobile import kept
from pipelines.mobile.gate import judge, refusals
from pipelines.mobile.stage import Prepared, measure_or_recall, noise_warnings, prepare, sample_warnings
from pipelines.record.mobile import MobileRecord
from pipelines.record.reason import ReasonRecord, reason
from pipelines.record.run import RunRecord
from pipelines.run.run import Run, conclude, start_run
from pipelines.runners.server import Runner
from pipelines.targets.registry import IN_PROCESS
from pipelines.tasks.tasks import Progress

# Short profiles show the artifacts for devices only if they were measured before.
ONLY_KEPT = ("smoke",)


def compare(
    settings: RunSettings, runner: Runner, command: Sequence[str], progress: Progress
) -> tuple[RunRecord, Path]:
    """Measure and compare the targets; returns the finished record and its folder.

    Artifacts are exported and verified first, if they are not yet. When the run is interrupted it returns
    what was measured, with status "interrupted".

    Raises:
        ModelError, RequestError: something asked for does not exist.
        GateError: an artifact or a live endpoint does not answer like the source model, or the sides were
            not given the same.
        MachineError: a server died, or the environment failed; the record is finished first and named.
    """
    run = start_run("compare", settings, runner, command, progress)
    progress("compare", f"{_plan(run)}, into {run.folder}")
    return conclude(run, partial(_measure, progress=progress)), run.folder


def _plan(run: Run) -> str:
    limit_s = run.settings.decide_within_s
    if limit_s is not None:
        return f"blocks until {run.settings.primary} is decided, {limit_s / 60:.1f} min at most"
    return f"{run.session.planned_count} rounds, about {run.session.left_s() / 60:.1f} min"


def _measure(run: Run, progress: Progress) -> None:
    if run.settings.mobile:
        _include_mobile(run, progress)
    if run.settings.profile.conditioning_limit_s:  # a profile without it says nothing about speed
        run.session.on_measured = partial(_time_in_process, run, progress)
    limit_s = run.settings.decide_within_s
    measure_blocks(run.session, None if limit_s is None else Deciding(run, limit_s).enough)


def _time_in_process(run: Run, progress: Progress) -> None:
    settings = run.settings
    run.warnings += time_sides(run.session, run.spec, settings.rows, settings.cores.server, progress)


def _include_mobile(run: Run, progress: Progress) -> None:
    """Measure for devices before any server starts, so that neither disturbs the other.

    What fails here fails no comparison.
    """
    if run.settings.profile.name in ONLY_KEPT:
        _include_kept(run)
        return
    try:
        prepared = prepare(run.settings.model, run.settings.artifacts, progress)
        _show_artifacts(run, prepared)
        note = partial(_note, run)
        counts = (1,) if run.settings.profile.device_threads == "one" else None
        measure_or_recall(run.settings.model, prepared, run.folder, progress, note, counts)
    except UserError as error:
        run.warnings.append(reason("mobile_failed", model=run.settings.model, error=str(error)))


def _include_kept(run: Run) -> None:
    root = run.settings.artifacts / run.spec.name
    manifests = {name: run.exported.manifests[name] for name in IN_PROCESS if name in run.exported.manifests}
    recalled = None
    if len(manifests) == len(IN_PROCESS):
        recalled = kept.recall(root, kept.key_of(run.spec, manifests), run.folder)
    if recalled is None:
        run.warnings.append(reason("mobile_not_measured", model=run.settings.model))
    else:
        _note(run, recalled)


def _show_artifacts(run: Run, prepared: Prepared) -> None:
    manifests = {**run.exported.manifests, **prepared.exported.manifests}
    run.exported = replace(run.exported, manifests=manifests)
    records = {**run.verified.records, **prepared.verified.records}
    run.verified = replace(run.verified, records=records)


def _note(run: Run, mobile: MobileRecord) -> None:
    """Take the record in, judged by the usual limits, with what its reader must know."""
    run.mobile = judge(mobile, MobileLimits())
    run.warnings += (*noise_warnings(run.mobile), *sample_warnings(run.mobile, run.spec))
    for why in refusals(run.mobile):
        figures = {**why.figures, "model": run.settings.model, "cause": why.code}
        run.warnings.append(ReasonRecord(code="mobile_refused", figures=figures))

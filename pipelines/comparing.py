"""The compare stage: serve every target, prove its answers, measure round by round, and record it all."""

from collections.abc import Sequence
from pathlib import Path

from pipelines.config import RunSettings
from pipelines.measuring import measure_blocks
from pipelines.record import RunRecord
from pipelines.running import Run, conclude, start_run
from pipelines.workers import Progress


def compare(settings: RunSettings, command: Sequence[str], progress: Progress) -> tuple[RunRecord, Path]:
    """Measure and compare the targets; returns the finished record and its folder.

    Artifacts are exported and verified first, if they are not yet. When the run is interrupted it returns
    what was measured, with status "interrupted".

    Raises:
        ModelError, RequestError: something asked for does not exist.
        GateError: an artifact or a live endpoint does not answer like the source model, or the sides were
            not given the same.
        MachineError: a server died, or the machine refused; the record is finished first and named.
    """
    run = start_run("compare", settings, command, progress)
    minutes = run.session.left_s() / 60
    progress("compare", f"{run.session.planned_count} rounds, about {minutes:.1f} min, into {run.folder}")
    return conclude(run, _measure), run.folder


def _measure(run: Run) -> None:
    measure_blocks(run.session)

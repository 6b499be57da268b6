"""`tandem gate --sides`: measures both builds interleaved first, until the gate is decided or time is up."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from pipelines.compare.looks import Deciding
from pipelines.config.settings import RunSettings
from pipelines.gate.baseline import pair_names, pairs_within
from pipelines.gate.decision import findings, overall
from pipelines.gate.finding import UNDECIDED
from pipelines.gate.limits import METRICS
from pipelines.gate.stage import GateRequest, GateResult, gate
from pipelines.measure.blocks import measure_blocks
from pipelines.record.run import RunRecord
from pipelines.run.run import Run, conclude, start_run
from pipelines.runners.server import Runner
from pipelines.tasks.tasks import Progress

GATE_BLOCKS = 4
"""Of the default profile for gates: `quick` with as many blocks."""


def measure_and_gate(
    request: GateRequest, settings: RunSettings, runner: Runner, command: Sequence[str], progress: Progress
) -> GateResult:
    """Measure the sides of one run, and decide on them.

    Args:
        request: of a gate within one run, whose `baseline` is not looked at.
        settings: with the sides, and the time there is, if blocks are added until it is decided.

    Raises:
        RequestError: there are no two sides to compare; said before anything is measured.
        UserError: as `tandem compare`.
        KeyboardInterrupt: the user asked to stop; what was measured is kept.
    """
    names = [side.name for side in settings.sides]
    pair_names(names, request.baseline_side, request.candidate_side)
    run = start_run("compare", settings, runner, command, progress)
    progress("gate", f"{', '.join(names)}, into {run.folder}")
    record = conclude(run, partial(_measure, request=request))
    if record.status == "interrupted":
        raise KeyboardInterrupt
    return gate(replace(request, baseline=run.folder))


def _measure(run: Run, request: GateRequest) -> None:
    limit_s = run.settings.decide_within_s
    if limit_s is None:
        measure_blocks(run.session)
    else:
        deciding = Deciding(run, limit_s, decided=decided_by(request), asked="the gate")
        measure_blocks(run.session, deciding.enough)


def decided_by(request: GateRequest) -> Callable[[RunRecord], bool]:
    """Return whether a run decides the gate: something failed, or nothing that is measured is undecided.

    What more blocks cannot decide, such as the size of an image that neither side has, keeps nobody waiting.
    """

    def decided(record: RunRecord) -> bool:
        pairs = pairs_within(record, request.baseline_side, request.candidate_side)
        found = findings(pairs, request.limits, record.profile.seed if record.profile else 0)
        waiting = [
            finding
            for finding in found
            if finding.word == UNDECIDED and METRICS[finding.metric].kind != "exact"
        ]
        return overall(found) == "fail" or not waiting

    return decided

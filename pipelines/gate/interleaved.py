"""`tandem gate --sides`: measures both builds interleaved first, until the gate is decided or time is up."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from pipelines.compare.looks import Deciding
from pipelines.config.settings import RunSettings
from pipelines.gate.baseline import Pair, pair_names, pairs_within
from pipelines.gate.decision import findings, overall
from pipelines.gate.finding import UNDECIDED, Finding
from pipelines.gate.limits import METRICS
from pipelines.gate.measured import has_figure
from pipelines.gate.stage import GateRequest, GateResult, gate
from pipelines.measure.blocks import measure_blocks
from pipelines.record.run import RunRecord
from pipelines.run.failing import Kept, carrying
from pipelines.run.run import Run, conclude, start_run
from pipelines.runners.server import Runner
from pipelines.tasks.tasks import Progress

GATE_BLOCKS = 4
"""Of the default profile for gates: `quick` with as many blocks."""
ENOUGH_BLOCKS = 2
"""Show whether there is a figure at all."""


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
        KeyboardInterrupt: the user asked to stop; it carries what was measured (see `carried_by`).
    """
    names = [side.name for side in settings.sides]
    pair_names(names, request.baseline_side, request.candidate_side)
    run = start_run("compare", settings, runner, command, progress)
    progress("gate", f"{', '.join(names)}, into {run.folder}")
    record = conclude(run, partial(_measure, request=request))
    with carrying(Kept(record, run.folder)):
        if record.status == "interrupted":
            raise KeyboardInterrupt
        return gate(replace(request, baseline=run.folder))


def _measure(run: Run, request: GateRequest) -> None:
    limit_s = run.settings.decide_within_s
    if limit_s is None:
        measure_blocks(run.session)
    else:
        deciding = Deciding(run, limit_s, decided=decided_by(request), asked="gate")
        measure_blocks(run.session, deciding.enough)


def decided_by(request: GateRequest) -> Callable[[RunRecord], bool]:
    """Return whether a run decides the gate: something failed, or no block may decide what is open."""

    def decided(record: RunRecord) -> bool:
        pairs = pairs_within(record, request.baseline_side, request.candidate_side)
        found = findings(pairs, request.limits, record.profile.seed if record.profile else 0)
        sides = {pair.side: pair for pair in pairs}
        return overall(found) == "fail" or not any(may_be_decided(each, sides[each.side]) for each in found)

    return decided


def may_be_decided(finding: Finding, pair: Pair) -> bool:
    """Return whether it is undecided and more blocks may change that.

    They do not where nothing is measured, such as the size of an image; nor, from the second block on, where
    blocks gave a side no such figure at all, or gave both figures that do not compare.
    """
    if finding.word != UNDECIDED or METRICS[finding.metric].kind == "exact":
        return False
    profile = pair.candidate_run.profile
    if profile is None or profile.blocks < ENOUGH_BLOCKS:
        return True
    if finding.reason.code == "too_few_blocks":
        return finding.baseline is not None and finding.candidate is not None
    if finding.reason.code == "too_few_pairs":
        return all(has_figure(target, finding) for target in (pair.theirs, pair.ours))
    return finding.reason.code != "counted_differently"

"""The gate stage: reads runs, measures nothing, and says pass, fail or undecided."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.errors import RequestError
from pipelines.gate.baseline import (
    Difference,
    Pair,
    configured,
    differences,
    pairs_across,
    pairs_within,
    read_gated,
    require_same,
)
from pipelines.gate.decision import findings, overall
from pipelines.gate.finding import Finding, Word
from pipelines.gate.limits import Limit
from pipelines.record.run import RunRecord
from pipelines.report import pick


@dataclass(frozen=True)
class GateRequest:
    """The request of a gate.

    Attributes:
        baseline, candidate: folders of runs or their run.json; without a candidate the sides of one run.
        allow_environment: compare although machine or versions differ.
        baseline_side, candidate_side: sides of one run; None for `base` and `new`.
    """

    baseline: Path
    candidate: Path | None
    limits: tuple[Limit, ...]
    allow_environment: bool = False
    baseline_side: str | None = None
    candidate_side: str | None = None

    @property
    def names_sides(self) -> bool:
        """Whether the sides to compare within one run were named."""
        return bool(self.baseline_side or self.candidate_side)


@dataclass(frozen=True)
class GateResult:
    """What the gate says.

    Attributes:
        environment: what the two runs do not share, where that was allowed.
        configuration: settings of servers that differ between two runs; no reason to refuse.
        interleaved: whether both were measured in one run.
        left_out: measured sides of which nobody asked and which belong to no pair.
    """

    word: Word
    model: str
    findings: tuple[Finding, ...]
    environment: tuple[Difference, ...]
    configuration: tuple[Difference, ...]
    interleaved: bool
    baseline: str
    candidate: str
    started_at_utc: str
    left_out: tuple[str, ...] = ()

    def of(self, word: Word) -> tuple[Finding, ...]:
        """Return the findings with that word."""
        return tuple(finding for finding in self.findings if finding.word == word)


def require_one_way(request: GateRequest) -> None:
    """Raise RequestError for options of one run with two runs, or of two runs with one."""
    if request.candidate is not None and request.names_sides:
        raise RequestError(
            "--baseline-side and --candidate-side are of one run, and two were given; leave one out"
        )
    if request.candidate is None and request.allow_environment:
        raise RequestError("--allow-environment is about two runs, and one was given; leave it out")


def gate(request: GateRequest) -> GateResult:
    """Decide whether a candidate is worse than its baseline by more than the limits allow.

    Raises:
        RequestError: a path that leads to no run, runs or sides that do not compare, or environments that
            differ and may not.
    """
    baseline = read_gated(request.baseline)
    if request.candidate is None:
        return _within(baseline, request)
    candidate = read_gated(request.candidate)
    pairs = pairs_across(baseline, candidate)
    unlike = differences(baseline, candidate)
    if not request.allow_environment:
        require_same(unlike)
    decided = findings(pairs, request.limits, _seed(candidate))
    return GateResult(
        word=overall(decided),
        model=candidate.model.name,
        findings=decided,
        environment=unlike,
        configuration=configured(baseline, candidate),
        interleaved=False,
        baseline=baseline.run_id,
        candidate=candidate.run_id,
        started_at_utc=candidate.started_at_utc,
    )


def _within(run: RunRecord, request: GateRequest) -> GateResult:
    pairs = pairs_within(run, request.baseline_side, request.candidate_side)
    decided = findings(pairs, request.limits, _seed(run))
    return GateResult(
        word=overall(decided),
        model=run.model.name,
        findings=decided,
        environment=(),
        configuration=(),
        interleaved=True,
        baseline=_named([pair.baseline for pair in pairs], run),
        candidate=_named([pair.candidate for pair in pairs], run),
        started_at_utc=run.started_at_utc,
        left_out=() if request.names_sides else _without_pair(run, pairs),
    )


def _without_pair(run: RunRecord, pairs: Sequence[Pair]) -> tuple[str, ...]:
    paired = {name for pair in pairs for name in (pair.baseline, pair.candidate)}
    return tuple(name for name in pick.compared(run) if name not in paired)


def _named(sides: Sequence[str], run: RunRecord) -> str:
    return f"{', '.join(sides)} of {run.run_id}"


def _seed(run: RunRecord) -> int:
    return run.profile.seed if run.profile else 0

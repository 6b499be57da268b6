"""What the gate says of one metric of one side."""

from dataclasses import dataclass
from typing import Literal

from pipelines.gate.baseline import Pair
from pipelines.gate.limits import Limit
from pipelines.record.reason import ReasonRecord

Word = Literal["pass", "fail", "undecided"]
UNDECIDED: Word = "undecided"


@dataclass(frozen=True)
class Finding:
    """What the gate says of one metric of one side.

    Attributes:
        load: of a metric that is measured under loads; None for others.
        limit: the share it may get worse by.
        baseline, candidate: the two figures in `unit`, as the runs have them; None where they have none.
        factor: candidate / baseline, or their difference in a metric of points; None where it is unknown.
        interval: of the factor, with its confidence; None for what is exact or has no interval.
        reason: which rule gave the word, with its figures.
        rounds_needed: how many more pairs of rounds would probably decide.
        usual_interval: the 95 % interval, whatever the word goes by.
        open_ended: whether blocks were added to the candidate's run until something was decided.
    """

    word: Word
    metric: str
    side: str
    load: str | None
    unit: str
    limit: float
    baseline: float | None
    candidate: float | None
    factor: float | None
    reason: ReasonRecord
    interval: tuple[float, float] | None = None
    confidence: float | None = None
    rounds_needed: int | None = None
    noise_floor: float | None = None
    usual_interval: tuple[float, float] | None = None
    open_ended: bool = False


def unknown(
    pair: Pair,
    limit: Limit,
    load: str | None,
    why: ReasonRecord,
    baseline: float | None,
    candidate: float | None,
) -> Finding:
    """Say that a metric cannot be judged, and why, beside the figures there are."""
    return Finding(
        word=UNDECIDED,
        metric=limit.metric.key,
        side=pair.side,
        load=load,
        unit=limit.metric.unit,
        limit=limit.share,
        baseline=baseline,
        candidate=candidate,
        factor=None,
        reason=why,
        open_ended=pair.candidate_run.sequential is not None,
    )

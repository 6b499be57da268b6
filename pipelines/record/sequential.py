"""A comparison that went on until it was decided, as run.json holds it."""

from typing import Literal

from pipelines.record.base import Record

Asked = Literal["gate"]
"""What else than the primary metric a run may end by."""


class LookRecord(Record):
    """One look, after a block.

    `decided`: whether every verdict on the primary metric was; where `asked` is `gate`, whether the gate was,
    as far as blocks decide it.
    """

    blocks_count: int
    elapsed_s: float
    time_share: float
    decided: bool
    asked: Asked | None = None


class SequentialRecord(Record):
    """Blocks were added until what its looks asked was decided, or the time of `decide_within_s` was up.

    That is the primary metric, or the limits of a gate that measured the run itself.

    Intervals and verdicts are those of the last look, widened so that all looks together have the confidence
    that is written beside them (docs/statistics.md). `time_share` of a look is how much of the error had been
    spent by: 1 at the last one that there was time for.
    """

    decide_within_s: float
    looks: tuple[LookRecord, ...]

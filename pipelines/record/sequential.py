"""A comparison that went on until it was decided, as run.json holds it."""

from pipelines.record.base import Record


class LookRecord(Record):
    """One look at the verdicts, after a block. `decided`: every verdict on the primary metric was."""

    blocks_count: int
    elapsed_s: float
    time_share: float
    decided: bool


class SequentialRecord(Record):
    """Blocks were added until the primary metric was decided, or the time of `decide_within_s` was up.

    Intervals and verdicts are those of the last look, widened so that all looks together have the confidence
    that is written beside them (docs/statistics.md). `time_share` of a look is how much of the error had been
    spent by: 1 at the last one that there was time for.
    """

    decide_within_s: float
    looks: tuple[LookRecord, ...]

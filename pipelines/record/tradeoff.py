"""What two sides cost beside their speed, as run.json holds it."""

from typing import Literal

from pipelines.record.base import Record

Measure = Literal["peak_memory_bytes", "cold_start_s", "until_steady_s", "image_bytes", "accuracy"]


class TradeOffRecord(Record):
    """One measure of two compared targets that is not taken from rounds.

    A value is the median over the side's fresh servers, one per block, or the figure itself where there is
    only one. `ratio` is candidate / baseline of servers of the same block, with its 95 % interval;
    `verdict_interval` is the one that the verdict goes by: verdicts on a run's trade-offs are one family.
    Where a server was not steady within its budget there is no ratio, as its time is only bounded, and no
    value where half of a side's were not. Of accuracy it is of the shares of right answers, with the interval
    that as many samples of the same kind give, and without one where the shares are of labelled positions. Of
    a run that ended at a look, servers of blocks that were looked at count, and intervals hold at all looks
    together. `verdict` is about the candidate, null where one side has no
    figure or too few servers were started.
    """

    measure: Measure
    candidate: str
    baseline: str
    candidate_value: float | None
    baseline_value: float | None
    ratio: float | None
    interval: tuple[float, float] | None
    blocks_count: int
    verdict: Literal["better", "worse", "equivalent", "inconclusive"] | None
    verdict_confidence: float | None
    verdict_interval: tuple[float, float] | None

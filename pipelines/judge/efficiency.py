"""Served rows per second over what the same artifact does in process."""

import math
from collections.abc import Sequence

from loadtests.intervals import estimate_unpaired
from pipelines.record.in_process import EfficiencyRecord, InProcessRecord
from pipelines.record.rounds import RoundRecord


def judge_efficiency(
    rounds: Sequence[RoundRecord], rows: int, limit: InProcessRecord | None, seed: int
) -> EfficiencyRecord | None:
    """Return the ratio with its 95 % interval, from valid `rounds` of one load; None if a part is unknown.

    The rounds' own spread and that of the stretches in process are in the interval. Both are of one run.

    Args:
        rows: samples in a request.
    """
    if limit is None:
        return None
    served = [
        [
            math.log(record.throughput_per_s * rows)
            for record in rounds
            if record.block == block and record.valid and record.throughput_per_s
        ]
        for block in sorted({record.block for record in rounds})
    ]
    in_process = [[math.log(rate) for rate in limit.stretches_rows_per_s if rate > 0]]
    estimate = estimate_unpaired([block for block in served if block], in_process, seed=seed)
    if estimate is None:
        return None
    interval = estimate.interval()
    return EfficiencyRecord(ratio=interval.ratio, low=interval.low, high=interval.high)

"""An SLO search, as run.json holds it."""

from typing import Literal

from pipelines.record.base import Record
from pipelines.record.reason import ReasonRecord


class RatePointRecord(Record):
    """One measurement of an SLO search.

    `phase` is `condition` for an open load before any round counts, `search`, or `confirm` for the rounds
    that confirmed the rate; `met` is null when the round was not valid or not delivered, and so says nothing
    of the server.
    """

    round_index: int
    block: int
    phase: str
    rate_per_s: float
    p99_ms: float | None
    errors_share: float
    met: bool | None
    reasons: tuple[ReasonRecord, ...]


class SloBlockRecord(Record):
    """What one block's search found: the rate if it was `found`, a bound that it exceeds if `lower_bound`.

    `none`: no rate kept the limit; `not_measured`: the search had to give up; both without a rate.
    `breaks_at_per_s` is the lowest rate above it that did not pass, null when there was none.
    """

    block: int
    outcome: Literal["found", "lower_bound", "none", "not_measured"]
    rate_per_s: float | None
    breaks_at_per_s: float | None
    rounds_count: int
    reason: ReasonRecord | None


class SloTargetRecord(Record):
    """The highest rates that kept the limit, one search per block with fresh servers.

    `rate_per_s` is the geometric mean of the blocks' rates, null unless every block found one. Where a block
    has only a lower bound (`lower_bound`), because the generator and not the server was the limit, the mean
    of rates and bounds is `at_least_per_s`, and `cost_at_most` belongs to that. Costs are of a million
    inferences, in the unit of `hourly_price`: of a million rows, where a request has several.
    """

    rate_per_s: float | None
    interval: tuple[float, float] | None
    block_rates_per_s: tuple[float | None, ...]
    lower_bound: bool
    cost_per_million: float | None
    cost_interval: tuple[float, float] | None
    points: tuple[RatePointRecord, ...]
    reason: ReasonRecord | None
    blocks: tuple[SloBlockRecord, ...] = ()
    at_least_per_s: float | None = None
    cost_at_most: float | None = None


class SloRatioRecord(Record):
    """The ratio of the two searches of one block; `bound` says which way it is open when one is a bound."""

    block: int
    ratio: float
    bound: Literal["at_least", "at_most"] | None


class SloRecord(Record):
    """An SLO search of all compared targets, and the ratio candidate / baseline of their highest rates.

    Where one side's rates are bounds there is no `ratio`, only `ratio_at_least` or `ratio_at_most`: a
    one-sided 95 % limit, or the only block's own bound. Where both are bounds there is none of these.
    """

    p99_limit_ms: float
    resolution: float
    hourly_price: float | None
    targets: dict[str, SloTargetRecord]
    candidate: str
    baseline: str | None
    ratio: float | None
    interval: tuple[float, float] | None
    reason: ReasonRecord | None
    block_ratios: tuple[SloRatioRecord, ...] = ()
    ratio_at_least: float | None = None
    ratio_at_most: float | None = None

"""Where the time of a request went, as run.json holds it."""

from pydantic import Field

from pipelines.record.base import Record
from pipelines.record.reason import ReasonRecord


class TimeSplitRecord(Record):
    """The parts of a request's time under one load, against the measured p50.

    `parts_ms` are means over the requests of valid rounds: `transport` (the null server's own time for a
    request),
    `frontend`, `queue`, `decode`, `inference`, `encode`, and `codec` where a server tells decode and
    encode together; only what is known. `unexplained_ms` is p50 without them, below 0 where they are more,
    and `unexplained_share` that of p50. `reasons` say what is missing where that is more than 10 %.
    """

    p50_ms: float
    parts_ms: dict[str, float] = Field(default_factory=dict)
    unexplained_ms: float
    unexplained_share: float
    reasons: tuple[ReasonRecord, ...] = ()

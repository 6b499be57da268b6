"""What the served artifact does without a server around it, as run.json holds it."""

from pipelines.record.base import Record


class InProcessRecord(Record):
    """Calls of the artifact one after the other in a process of its own: the limit that a server can reach.

    On `cores`, as many threads as those, `rows` samples in every call: as many as the side's server gave its
    model at once. `path` and `format` are the artifact's. `stretches_rows_per_s` are the rates of stretches
    of equal length, from which the interval of an efficiency comes.
    """

    path: str
    format: str
    cores: tuple[int, ...]
    threads_count: int
    rows: int
    calls_count: int
    elapsed_s: float
    call_p50_ms: float
    rows_per_s: float
    stretches_rows_per_s: tuple[float, ...]


class EfficiencyRecord(Record):
    """Served rows per second over those in process, with the 95 % interval."""

    ratio: float
    low: float
    high: float

"""One measured round, as run.json holds it."""

from pydantic import Field

from pipelines.record.base import Record
from pipelines.record.reason import ReasonOrText, ReasonRecord


class LatencyRecord(Record):
    """Percentiles of successful requests; null with a reason where there are too few samples.

    `intervals` holds the 95 % interval of each percentile, from order statistics, as if requests were
    independent; null where the percentile is, and empty in an older record.
    """

    p50: float | None
    p90: float | None
    p95: float | None
    p99: float | None
    min: float | None
    max: float | None
    mean: float | None
    reasons: dict[str, ReasonOrText]
    intervals: dict[str, tuple[float, float] | None] = Field(default_factory=dict)


class ErrorRecord(Record):
    """Failed requests of one kind."""

    kind: str
    count: int
    example: str


class GeneratorRecord(Record):
    """What the load generator itself used in the measured window.

    `cpu_s` it worked; `polled_s` beside that it was awake and only waited for the next arrival, null where a
    run is older than that. `realtime`: it had its cores before any ordinary process. `waited_share` of the
    window it was ready to run and had to wait for its core, null where the kernel does not say.
    """

    cpu_s: float
    cpu_share: float | None
    cores: tuple[int, ...]
    realtime: bool
    waited_share: float | None
    polled_s: float | None = None


class SliceRecord(Record):
    """A stretch of a round's window: the successful requests that ended in it.

    `start_s` is from the round's first request; `p50_ms` and `max_ms` are null where nothing ended.
    """

    start_s: float
    length_s: float
    requests_count: int
    p50_ms: float | None
    max_ms: float | None


class RoundRecord(Record):
    """One measured stretch of one load on one target. Raw requests are in `samples_file`.

    `index` counts all rounds of the run in the order they were measured, `repetition` those of one target and
    load within a block: rounds of the same block, load and repetition are a pair. `attempt` is 0 for the
    first try; an invalid round is kept and measured again with the next attempt, unless it is a finding about
    the server. `slices` is the round stretch by stretch, fewer and longer ones the more rounds a run has;
    empty for what is not compared. `failed_checks` names the checks it did not pass, empty in a record older
    than that. `steady` is whether the warm-up ended in a steady state. `offered_per_s` to `late_share` are
    about open load, null under closed load. `server_cpu_s` is what the server under test used in the window.
    `requests_per_run` is how many requests shared a run of the model on average, from before the warm-up to
    after the last answer, by the server's own count; null where it does not batch or does not tell.
    `server_slowdown` and `generator_slowdown` are how many times as long as usual in the run a fixed
    computation took on their cores, `server_probe_ms` the CPU ms that it took on the server's; null where
    too little is known.
    `parts_ms` is where the time of a request went in that time, means by part; what the server tells alone.
    """

    index: int
    block: int
    repetition: int
    attempt: int
    target: str
    load: str
    started_at_utc: str
    window_s: float
    warmup_s: float
    warmup_requests_count: int
    steady: bool | None
    samples_file: str
    requests_count: int
    errors_count: int
    checked_count: int
    wrong_count: int
    errors: tuple[ErrorRecord, ...]
    latency_ms: LatencyRecord
    throughput_per_s: float | None
    generator: GeneratorRecord
    cpu_steal_share: float | None
    foreign_cpu_share: float | None
    valid: bool
    invalid_reasons: tuple[ReasonRecord, ...]
    interrupted: bool
    offered_per_s: float | None
    achieved_per_s: float | None
    late_share: float | None
    server_cpu_s: float | None = None
    compilers_cpu_s: float | None = None
    failed_checks: tuple[str, ...] = ()
    foreign_cores: float | None = None
    server_slowdown: float | None = None
    generator_slowdown: float | None = None
    server_probe_ms: float | None = None
    slices: tuple[SliceRecord, ...] = ()
    requests_per_run: float | None = None
    parts_ms: dict[str, float] = Field(default_factory=dict)

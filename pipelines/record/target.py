"""Everything about one target, as run.json holds it."""

from typing import Literal

from pydantic import Field

from pipelines.record.artifact import ArtifactRecord
from pipelines.record.base import Record
from pipelines.record.conditioning import ConditioningRecord, DriftRecord
from pipelines.record.implementation import GivenRecord, ImplementationRecord
from pipelines.record.in_process import EfficiencyRecord, InProcessRecord
from pipelines.record.parity import ParityRecord
from pipelines.record.reason import ReasonRecord
from pipelines.record.rounds import LatencyRecord, RoundRecord
from pipelines.record.time_split import TimeSplitRecord


class ColdStartRecord(Record):
    """From process or container start to readiness, and to the first right answer, in one block."""

    block: int
    ready_s: float
    first_right_answer_s: float


class BlockPeakRecord(Record):
    """The most memory that a target's server of one block was seen to hold."""

    block: int
    peak_bytes: int


class MemoryRecord(Record):
    """Memory of the whole server. `source` says how it was counted: `pss` or `cgroup`, null if it was not.

    `pss` is the proportional set size of a local process tree, `peak_bytes` its largest sample at the end of
    a round. `cgroup` is the kernel's count for a container: `idle_bytes` without file pages that could be
    dropped, `peak_bytes` the most it ever held with them. The two do not compare. `block_peaks` has the peak
    of every block's own server, empty in an older record.
    """

    idle_bytes: int | None
    peak_bytes: int | None
    source: str | None = None
    block_peaks: tuple[BlockPeakRecord, ...] = ()


class EcdfRecord(Record):
    """Points of the empirical distribution of pooled latencies: share of requests at or below."""

    latency_ms: tuple[float, ...]
    share: tuple[float, ...]


class SummaryRecord(Record):
    """One target under one load: all requests of its valid rounds, pooled.

    `rounds_count` of them are pooled; `invalid_rounds_count` are left out.
    `round_range` holds, per metric, the smallest and the largest value any single valid round gave.
    `efficiency` is what was served over what the artifact does in process; null where either is unknown.
    `time_split` is where a request's time went, null where the server does not tell.
    `server_cpu_ms_per_row` is the server's CPU time in the windows over the rows of their requests, null
    where none of it was read.
    """

    load: str
    rounds_count: int
    invalid_rounds_count: int
    requests_count: int
    errors_count: int
    latency_ms: LatencyRecord
    throughput_per_s: float | None
    round_range: dict[str, tuple[float, float]]
    ecdf: EcdfRecord | None
    efficiency: EfficiencyRecord | None = None
    time_split: TimeSplitRecord | None = None
    server_cpu_ms_per_row: float | None = None


class PayloadRecord(Record):
    """What every request of a side carried: `rows` samples each.

    `body_example` is the first body, as base64 where the `codec` is a binary one.
    """

    protocol: str
    bodies_count: int
    body_bytes_min: int
    body_bytes_max: int
    body_example: str
    codec: str = "json-rows"
    rows: int = 1


class TargetRecord(Record):
    """Everything about one target in this run.

    `role` is `compared`; `control` for the second server of a compared target (`control_of`), which shows
    what no difference looks like on this machine; `floor` for the null server, which shows what the harness
    itself costs; `in-process` for a target without a server, never ranked beside the others. `target` is
    whose artifacts it serves, null in a record older than sides with names of their own, where that is its
    name, and `url` for a running endpoint. `payload` is what its requests carried. `not_known` has by
    name what is null of such a server, and why. `in_process` is what its artifact does without a server,
    null where that was not measured.
    """

    role: Literal["compared", "control", "floor", "in-process"]
    control_of: str | None
    implementation: ImplementationRecord
    given: GivenRecord
    artifacts: tuple[ArtifactRecord, ...]
    parity: tuple[ParityRecord, ...]
    endpoint_parity: ParityRecord | None
    cold_starts: tuple[ColdStartRecord, ...]
    memory: MemoryRecord
    summaries: tuple[SummaryRecord, ...]
    rounds: tuple[RoundRecord, ...]
    log_file: str | None
    conditionings: tuple[ConditioningRecord, ...] = ()
    drifts: tuple[DriftRecord, ...] = ()
    target: str | None = None
    payload: PayloadRecord | None = None
    not_known: dict[str, ReasonRecord] = Field(default_factory=dict)
    in_process: InProcessRecord | None = None

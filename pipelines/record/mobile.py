"""Artifacts for devices, as run.json holds them."""

from pipelines.record.artifact import NotExportedRecord
from pipelines.record.base import Record
from pipelines.record.parity import ParityRecord
from pipelines.record.reason import ReasonOrText


class TimingRecord(Record):
    """One artifact in process on the host's CPU, in a process of its own, with one number of threads.

    `load_ms` from the closed file to a model that is ready, `first_inference_ms` the first call alone.
    `p50_ms` and `p95_ms` are of `runs_count` calls over `elapsed_s` after `warmup_runs_count` uncounted ones,
    null with a reason where there are too few. `peak_memory_bytes` is above the same process with its
    runtime loaded and no model. `samples_file` holds the raw nanoseconds of every call, relative to the run's
    folder. The two shares are of all cores, while the process ran.
    """

    threads_count: int
    load_ms: float
    first_inference_ms: float
    warmup_runs_count: int
    runs_count: int
    elapsed_s: float
    p50_ms: float | None
    p95_ms: float | None
    reasons: dict[str, ReasonOrText]
    peak_memory_bytes: int | None
    samples_file: str | None
    cpu_steal_share: float | None
    foreign_cpu_share: float | None


class MobileArtifactRecord(Record):
    """One artifact that a device could run: what it costs, and how accurate it is.

    `accuracy_drop` is the source model's accuracy minus this one's, so negative when it got better.
    `delegated_ops_count` of `ops_count` operations run in the delegate (XNNPACK). `timings` holds one thread
    first, then all cores. `runtime_library` is a key of the record's `runtimes`. `on_pareto_front`: no other
    artifact is both smaller and at least as accurate. `failures` are the gate's reasons against it, each
    with its figures and limits. `error` is what its runtime said when it could not be run; then what depends
    on it is null. The errors are as in `ParityRecord`, `outputs` has those of each output; `mismatch` is why
    one in float32 is not the source model.
    """

    target: str
    path: str
    format: str
    precision: str
    variant: str | None
    size_bytes: int
    gzip_bytes: int
    zstd_bytes: int
    sha256: str
    parameters_count: int | None
    ops_count: int | None
    delegated_ops_count: int | None
    delegate: str | None
    samples_count: int
    accuracy: float | None
    accuracy_drop: float | None
    top1_agreement: float | None
    max_abs_error: float | None
    timings: tuple[TimingRecord, ...]
    runtime_library: str
    on_pareto_front: bool
    passed: bool
    failures: tuple[ReasonOrText, ...]
    error: str | None
    rmse: float | None = None
    output_error: float | None = None
    max_output_error: float | None = None
    target_rmse: float | None = None
    mismatch: ReasonOrText | None = None
    outputs: tuple[ParityRecord, ...] = ()


class RuntimeLibraryRecord(Record):
    """The library an artifact needs beside itself; `source` says which installed files were counted."""

    name: str
    version: str
    size_bytes: int
    source: str


class MobileGateRecord(Record):
    """What an artifact must keep to ship, and the smallest one that does; null limits were not asked for.

    The code of `reason` is `smallest`, `none_passes` or `none_exported`.
    """

    max_accuracy_drop: float
    max_bytes: int | None
    chosen: str | None
    reason: ReasonOrText


class MobileRecord(Record):
    """Every mobile artifact of the model, both roads. Latencies are of the host's CPU, not of a phone's.

    `memory_source` says how peak memory was read on this machine, null where it could not be. `task` is what
    the first output is: `classes`, `regression`, `tokens` or `none`.
    """

    measured_at_utc: str
    memory_source: str | None
    source_accuracy: float | None
    artifacts: tuple[MobileArtifactRecord, ...]
    not_exported: tuple[NotExportedRecord, ...]
    runtimes: dict[str, RuntimeLibraryRecord]
    gate: MobileGateRecord
    task: str | None = None
    source_target_rmse: float | None = None

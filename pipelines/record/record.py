"""The record of a run, as `runs/ID/run.json` holds it. Every field is documented in docs/run-json.md.

History of `schema_version`:
1  first version.
"""

import os
import stat
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict

SCHEMA_VERSION: Final = 1
RUN_LIMIT_BYTES: Final = 2**28
SHOWN: Final = 200


class Record(BaseModel):
    """Base of everything in run.json: immutable, and an unknown field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class TensorRecord(Record):
    """One named input or output; the batch dimension is null."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]


class ModelRecord(Record):
    """The one trained model that all targets serve."""

    name: str
    digest: str
    checkpoint_sha256: str
    parameters_count: int
    inputs: tuple[TensorRecord, ...]
    outputs: tuple[TensorRecord, ...]
    samples_count: int
    accuracy: float | None


class EnvironmentRecord(Record):
    """The machine and the versions that the figures belong to.

    `idle_cores` were left to nobody: hyper-threads of the load generator's physical core.
    """

    os: str
    kernel: str
    cpu_model: str
    cores_count: int
    memory_bytes: int
    server_cores: tuple[int, ...]
    generator_cores: tuple[int, ...]
    idle_cores: tuple[int, ...] = ()
    versions: dict[str, str]
    git_commit: str | None


class ArtifactRecord(Record):
    """One exported file or folder. `path` is relative to the repository root or absolute.

    `variant` tells artifacts of the same format and precision apart, such as `portable` and `xnnpack`.
    """

    target: str
    path: str
    format: str
    precision: str
    variant: str | None
    size_bytes: int
    gzip_bytes: int
    sha256: str
    export_s: float
    toolchain: dict[str, str]


class ParityRecord(Record):
    """Outputs of an artifact, or of a live endpoint, against the source model's on the held-out samples.

    What computes in float32 must stay within the two tolerances. A reduced precision cannot; then they are
    null, and its `output_error`, the root mean square error in standard deviations of the source model's
    outputs, must stay within `max_output_error`, and the accuracy it loses, if it chooses classes, within
    `max_accuracy_drop`. `rmse` is against the source model's outputs, `target_rmse` against the targets.
    """

    subject: str
    passed: bool
    samples_count: int
    max_abs_error: float
    max_rel_error: float
    absolute_tolerance: float | None
    relative_tolerance: float | None
    max_accuracy_drop: float | None
    top1_agreement: float | None
    accuracy: float | None
    rmse: float | None = None
    output_error: float | None = None
    max_output_error: float | None = None
    target_rmse: float | None = None


class ImageRecord(Record):
    """The image a container was made from. `compressed_bytes` is what a registry would send."""

    reference: str
    id: str
    size_bytes: int
    compressed_bytes: int | None


class ImplementationRecord(Record):
    """What really answered. `stand_in` is true when it is not the product the target is named after.

    `image` is null where no container answered.
    """

    name: str
    version: str
    runner: str
    preset: str
    protocol: str
    stand_in: bool
    note: str | None
    image: ImageRecord | None = None


class GivenRecord(Record):
    """What a target was given to work with, and how its server is configured to use that.

    The budget is `cores`, `cpus` (a limit on CPU time, in cores' worth of it) and `memory_limit_bytes`: the
    same on all sides, or the comparison is unfair. Everything else is the server's configuration as it really
    ran, null where it is unknown or where there is no such setting. `sources` says for every field of the
    configuration where it is from: `server` (asked of the running one), `flag` (passed at its start) or
    `rule` (what the runtime makes of no flag).
    """

    cores: tuple[int, ...]
    workers_count: int | None
    threads_per_worker: int | None
    batch_max_size: int | None
    memory_limit_bytes: int | None
    cpus: float | None = None
    max_request_bytes: int | None = None
    workers_max_count: int | None = None
    inter_op_threads_count: int | None = None
    rest_threads_count: int | None = None
    batch_delay_ms: float | None = None
    queue_max_count: int | None = None
    sources: dict[str, str] = {}


class ColdStartRecord(Record):
    """From process or container start to readiness, and to the first right answer, in one block."""

    block: int
    ready_s: float
    first_right_answer_s: float


class SecondRecord(Record):
    """One second of conditioning: successful requests, their p50, and the server's CPU seconds."""

    requests_count: int
    p50_ms: float | None
    server_cpu_s: float | None


class ConditioningRecord(Record):
    """Load on a fresh server, or on one whose rounds still drifted, until it stopped getting faster.

    `state` is `steady`; `climbing` when the budget ended while it still got faster; `unsettled` when nothing
    was shown either way. `until_steady_s` is seconds of this load until the steady stretch began,
    `until_steady_requests_count` the requests until then; null unless steady.
    """

    block: int
    load: str
    samples_file: str
    state: Literal["steady", "climbing", "unsettled"]
    until_steady_s: float | None
    until_steady_requests_count: int | None
    duration_s: float
    requests_count: int
    errors_count: int
    seconds: tuple[SecondRecord, ...]


class DriftRecord(Record):
    """The rounds of one block under one load still changed in one direction.

    `change` is the speed of the last over that of the first, less 1. `resolved` is whether the rounds were
    set aside and measured again after more conditioning; a climb that was not leaves no verdict.
    """

    block: int
    load: str
    change: float
    resolved: bool


class MemoryRecord(Record):
    """Memory of the whole server. `source` says how it was counted: `pss` or `cgroup`, null if it was not.

    `pss` is the proportional set size of a local process tree, `peak_bytes` its largest sample at the end of
    a round. `cgroup` is the kernel's count for a container: `idle_bytes` without file pages that could be
    dropped, `peak_bytes` the most it ever held with them. The two do not compare.
    """

    idle_bytes: int | None
    peak_bytes: int | None
    source: str | None = None


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
    reasons: dict[str, str]
    intervals: dict[str, tuple[float, float] | None] = {}


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


class RoundRecord(Record):
    """One measured stretch of one load on one target. Raw requests are in `samples_file`.

    `index` counts all rounds of the run in the order they were measured, `repetition` those of one target and
    load within a block: rounds of the same block, load and repetition are a pair. `attempt` is 0 for the
    first try; an invalid round is kept and measured again with the next attempt, unless it is a finding about
    the server. `failed_checks` names the checks it did not pass, empty in a record older than that. `steady`
    is whether the warm-up ended in a steady state. `offered_per_s` to `late_share` are about open load, null
    under closed load. `server_cpu_s` is what the server under test used from before the warm-up to after the
    last answer.
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
    invalid_reasons: tuple[str, ...]
    interrupted: bool
    offered_per_s: float | None
    achieved_per_s: float | None
    late_share: float | None
    server_cpu_s: float | None = None
    failed_checks: tuple[str, ...] = ()
    foreign_cores: float | None = None


class EcdfRecord(Record):
    """Points of the empirical distribution of pooled latencies: share of requests at or below."""

    latency_ms: tuple[float, ...]
    share: tuple[float, ...]


class SummaryRecord(Record):
    """One target under one load: all requests of its valid rounds, pooled.

    `rounds_count` of them are pooled; `invalid_rounds_count` are left out.
    `round_range` holds, per metric, the smallest and the largest value any single valid round gave.
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


class TargetRecord(Record):
    """Everything about one target in this run.

    `role` is `compared`; `control` for the second server of a compared target (`control_of`), which shows
    what no difference looks like on this machine; `floor` for the null server, which shows what the harness
    itself costs; `in-process` for a target without a server, never ranked beside the others.
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


class ComparisonRecord(Record):
    """Ratio candidate / baseline of one metric under one load, from paired valid rounds.

    `interval` is the 95 % interval of the ratio (docs/statistics.md), null with fewer than two pairs.
    `round_range` is the smallest and the largest ratio of a single pair. `margin` is the equivalence margin
    and `noise_floor` the larger one of the two sides, null without a usable control of each; both relative.
    `verdict` is about the candidate, null when there are too few valid rounds for one or the profile gives
    none; `reason_code` is which rule gave it. It goes by `verdict_interval`, whose confidence is
    `verdict_confidence`: 95 % for the primary metric under one load, higher in a family of several
    (docs/statistics.md). `rounds_needed` estimates how many more rounds per target would decide an
    inconclusive one, null when more rounds would not.
    """

    load: str
    metric: str
    baseline: str
    candidate: str
    ratio: float | None
    interval: tuple[float, float] | None
    round_range: tuple[float, float] | None
    pairs_count: int
    blocks_count: int
    margin: float
    noise_floor: float | None
    verdict: Literal["better", "worse", "equivalent", "inconclusive"] | None
    reason: str | None
    rounds_needed: int | None
    is_primary: bool = False
    reason_code: str | None = None
    verdict_confidence: float | None = None
    verdict_interval: tuple[float, float] | None = None


class ControlRecord(Record):
    """An A/A control: one target against a second server of itself, same machinery, same statistics.

    `noise_floor` is the relative difference that no difference at all can show here; a difference inside it
    is not called.
    """

    load: str
    metric: str
    target: str
    ratio: float | None
    interval: tuple[float, float] | None
    pairs_count: int
    noise_floor: float | None


class AsymmetryRecord(Record):
    """Something that the compared targets were not given alike; the run goes on only if it was `allowed`."""

    field: str
    values: dict[str, str]
    allowed: bool


class FairnessRecord(Record):
    """What was checked to be alike on all sides, by field and target, and where it was not.

    Only budgets are: what each server makes of its own is its configuration, in `targets.NAME.given`.
    """

    checked: dict[str, dict[str, str]]
    asymmetries: tuple[AsymmetryRecord, ...]


class RatePointRecord(Record):
    """One measurement of an SLO search. `phase` is `search`, or `confirm` for the rounds that confirmed the
    rate; `met` is null when the round was not valid or not delivered, and so says nothing of the server.
    """

    round_index: int
    block: int
    phase: str
    rate_per_s: float
    p99_ms: float | None
    errors_share: float
    met: bool | None
    reason: str | None


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
    reason: str | None


class SloTargetRecord(Record):
    """The highest rates that kept the limit, one search per block with fresh servers.

    `rate_per_s` is the geometric mean of the blocks' rates, null unless every block found one. Where a block
    has only a lower bound (`lower_bound`), because the generator and not the server was the limit, the mean
    of rates and bounds is `at_least_per_s`, and `cost_at_most` belongs to that. Costs are of a million
    requests, in the unit of `hourly_price`.
    """

    rate_per_s: float | None
    interval: tuple[float, float] | None
    block_rates_per_s: tuple[float | None, ...]
    lower_bound: bool
    cost_per_million: float | None
    cost_interval: tuple[float, float] | None
    points: tuple[RatePointRecord, ...]
    reason: str | None
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
    reason: str | None
    block_ratios: tuple[SloRatioRecord, ...] = ()
    ratio_at_least: float | None = None
    ratio_at_most: float | None = None


class NotExportedRecord(Record):
    """An artifact that could not be written for this model or by this build of a framework, and why."""

    target: str
    format: str
    precision: str
    variant: str | None
    reason: str


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
    reasons: dict[str, str]
    peak_memory_bytes: int | None
    samples_file: str | None
    cpu_steal_share: float | None
    foreign_cpu_share: float | None


class MobileArtifactRecord(Record):
    """One artifact that a device could run: what it costs and what it still knows.

    `accuracy_drop` is the source model's accuracy minus this one's, so negative when it got better.
    `delegated_ops_count` of `ops_count` operations run in the delegate (XNNPACK). `timings` holds one thread
    first, then all cores. `runtime_library` is a key of the record's `runtimes`. `on_pareto_front`: no other
    artifact is both smaller and at least as accurate. `failures` are the gate's reasons against it, each
    with metric, found and allowed. `error` says why it could not be run; then what depends on it is null.
    The errors are as in `ParityRecord`; `mismatch` says why one in float32 is not the source model.
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
    failures: tuple[str, ...]
    error: str | None
    rmse: float | None = None
    output_error: float | None = None
    max_output_error: float | None = None
    target_rmse: float | None = None
    mismatch: str | None = None


class RuntimeLibraryRecord(Record):
    """The library an artifact needs beside itself; `source` says which installed files were counted."""

    name: str
    version: str
    size_bytes: int
    source: str


class MobileGateRecord(Record):
    """What an artifact must keep to ship, and the smallest one that does; null limits were not asked for."""

    max_accuracy_drop: float
    max_bytes: int | None
    chosen: str | None
    reason: str


class MobileRecord(Record):
    """Every mobile artifact of the model, both roads. Latencies are of the host's CPU, not of a phone's.

    `memory_source` says how peak memory was read on this machine, null where it could not be. `task` is what
    the outputs are: `classes`, `regression` or `none`.
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


class WarningRecord(Record):
    """Something a reader must know before believing a figure, with what to do about it."""

    message: str
    remedy: str | None


class ProfileRecord(Record):
    """How long and how often the run measured.

    A warm-up ends at a steady state, after `warmup_limit_s` at the latest. `control` and `null` say whether
    A/A controls and the null server were measured, `control_blocks` whether every block had all controls or
    they took turns, `retries` how many invalid rounds might be redone.
    `conditioning_limit_s` is the budget of a fresh server until it had to be steady, 0 for none; rounds were
    as long as p50's wandering asked for, from `round_s` to `longest_round_s`. `primary` is the metric that
    was judged by itself, `verdicts` whether any were given.
    """

    name: str
    blocks: int
    rounds: int
    warmup_limit_s: float
    round_s: float
    loads: tuple[str, ...]
    control: bool
    null: bool
    retries: int
    seed: int
    check_share: float
    margin: float
    control_blocks: Literal["all", "in turn"] = "all"
    primary: Literal["p50", "p95", "p99", "throughput_per_s"] = "p99"
    verdicts: bool = True
    conditioning_limit_s: float = 0.0
    longest_round_s: float | None = None


class PayloadRecord(Record):
    """What every request carried."""

    protocol: str
    bodies_count: int
    body_bytes_min: int
    body_bytes_max: int
    body_example: str


class RunRecord(Record):
    """Everything one command measured."""

    schema_version: Literal[1] = SCHEMA_VERSION
    kind: Literal["compare", "slo", "mobile"]
    run_id: str
    tandem_version: str
    command: tuple[str, ...]
    started_at_utc: str
    ended_at_utc: str | None
    status: Literal["complete", "interrupted", "failed"]
    status_reason: str | None
    percentile_method: str
    profile: ProfileRecord | None
    model: ModelRecord
    environment: EnvironmentRecord
    payload: PayloadRecord | None
    artifacts: tuple[ArtifactRecord, ...]
    targets: dict[str, TargetRecord]
    fairness: FairnessRecord
    controls: tuple[ControlRecord, ...]
    comparisons: tuple[ComparisonRecord, ...]
    slo: SloRecord | None
    mobile: MobileRecord | None
    warnings: tuple[WarningRecord, ...]


def read_run(folder: Path) -> RunRecord:
    """Read and validate `folder`/run.json.

    Raises:
        FileNotFoundError: there is no run.json.
        OSError, ValueError: it is no regular file, or too large to be one.
        pydantic.ValidationError: it does not follow this schema.
    """
    return RunRecord.model_validate_json(_read_regular(folder / "run.json"))


def _read_regular(path: Path) -> bytes:
    # Not blocking: opening a pipe would wait for somebody to write.
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise ValueError("it is no regular file")
        if found.st_size > RUN_LIMIT_BYTES:
            raise ValueError(f"it has {found.st_size} bytes")
        return file.read()


def file_within(folder: Path, name: str) -> Path:
    """The path of a file of a run, by its name relative to the run's folder.

    Raises:
        ValueError: it would be outside, by its name or through a link, or is no regular file.
    """
    path = folder / name
    try:
        if not name or "\0" in name or not path.resolve().is_relative_to(folder.resolve()):
            raise ValueError(f"{name[:SHOWN]!r} is not inside the run's folder {folder}")
        if path.exists() and not path.is_file():
            raise ValueError(f"{path} is no regular file")
    except OSError as error:
        raise ValueError(f"{name[:SHOWN]!r} is no file of a run: {error.strerror}") from error
    return path

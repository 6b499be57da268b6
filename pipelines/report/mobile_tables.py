"""Tables of the mobile artifacts: size and accuracy, speed on this host, what each holds and needs."""

from collections.abc import Callable

from pipelines.console import format as fmt
from pipelines.record.mobile import MobileArtifactRecord, MobileRecord, TimingRecord
from pipelines.record.run import RunRecord
from pipelines.report import mobile as said
from pipelines.report.sentences import sentence
from pipelines.report.table import Cell, Column, Table, code, missing, number, target_cell, word

BROKEN = "it could not be run: its error is below"
NO_LABELS = "the samples have no labels"
NO_CLASSES = "the model has no classes to agree on"
NO_TARGETS = "the samples have no targets"
NOT_SAID = "its format does not say"
NOT_TIMED = "not timed"
ONE_CORE = "not timed with more than one thread"
DIGEST_DIGITS = 12
NAMED = (Column("precision", numeric=False), Column("artifact", numeric=False))


def tables(run: RunRecord) -> list[Table]:
    """Return all tables that have rows, in the order to be read."""
    if run.mobile is None:
        return []
    makers = (size_table, speed_table, content_table, error_table, not_exported_table, library_table)
    return [table for table in (make(run.mobile) for make in makers) if table.rows]


def _named(mobile: MobileRecord, artifact: MobileArtifactRecord) -> tuple[Cell, Cell]:
    return word(artifact.precision), target_cell(artifact.target, said.file_kind(mobile, artifact))


def _unknown(artifact: MobileArtifactRecord, why: str) -> str:
    """Return why a figure is missing: its own reason, or that nothing could be run."""
    return BROKEN if artifact.error else why


def size_table(mobile: MobileRecord) -> Table:
    """Show what each artifact weighs, what accuracy it keeps, and whether it may ship."""
    columns = (
        *NAMED,
        Column("size"),
        Column("of", "float32"),
        Column("gzip", minor=True),
        Column("zstd", minor=True),
        *_worth_columns(mobile),
        Column("error", "std", minor=said.chooses(mobile)),
        Column("max error", minor=True),
        Column("gate", numeric=False),
    )
    rows = tuple(_size_row(mobile, artifact) for artifact in said.by_precision(mobile))
    remark = (
        f"{_remark(mobile)} Error: root mean square against the source model's outputs, in "
        f"their standard deviations.{said.asked_less(mobile)}"
    )
    return Table("Size and accuracy", columns, rows, remark)


def _worth_columns(mobile: MobileRecord) -> tuple[Column, ...]:
    if said.chooses(mobile):
        return Column("accuracy"), Column("drop", "points"), Column("top-1", "agreement", minor=True)
    return (Column("RMSE", "to targets"),)


def _remark(mobile: MobileRecord) -> str:
    if said.chooses(mobile):
        return (
            "Accuracy, agreement and largest error are against the source model on the held-out samples. "
            "A drop below 0 is a gain."
        )
    source = mobile.source_target_rmse
    own = "" if source is None else f" The source model's RMSE to the targets is {fmt.significant(source)}."
    return f"The outputs choose no class, so there is no accuracy.{own}"


def _size_row(mobile: MobileRecord, artifact: MobileArtifactRecord) -> tuple[Cell, ...]:
    full = said.share_of_float32(mobile, artifact)
    return (
        *_named(mobile, artifact),
        _bytes(artifact.size_bytes),
        number(full, fmt.ratio, unit="of float32", why="there is no float32 of this format"),
        _bytes(artifact.gzip_bytes),
        _bytes(artifact.zstd_bytes),
        *_worth_cells(mobile, artifact),
        number(artifact.output_error, fmt.significant, unit="std", why=_unknown(artifact, "not measured")),
        number(artifact.max_abs_error, fmt.scientific, unit="", why=_unknown(artifact, "not measured")),
        _gate(mobile, artifact),
    )


def _worth_cells(mobile: MobileRecord, artifact: MobileArtifactRecord) -> tuple[Cell, ...]:
    if not said.chooses(mobile):
        return (number(artifact.target_rmse, fmt.significant, unit="", why=_unknown(artifact, NO_TARGETS)),)
    return (
        number(artifact.accuracy, fmt.percent, unit="of 1", why=_unknown(artifact, NO_LABELS)),
        number(artifact.accuracy_drop, fmt.points, unit="of 1", why=_unknown(artifact, NO_LABELS)),
        number(artifact.top1_agreement, fmt.percent, unit="of 1", why=_unknown(artifact, NO_CLASSES)),
    )


def _bytes(value: int) -> Cell:
    return Cell(fmt.size(value), exact=fmt.exact_bytes(value))


def _gate(mobile: MobileRecord, artifact: MobileArtifactRecord) -> Cell:
    if artifact.passed:
        return word("ship" if artifact is said.chosen(mobile) else "passes", tone="good")
    return Cell("FAILS", why=said.failures(artifact) or None, tone="bad")


def speed_table(mobile: MobileRecord) -> Table:
    """Show latency and memory in process, with one thread and with all cores."""
    columns = (
        *NAMED,
        Column("load", "ms", minor=True),
        Column("first", "call, ms", minor=True),
        Column("p50", "1 thread, ms"),
        Column("p95", "1 thread, ms", minor=True),
        Column("p50", "all cores, ms"),
        Column("p95", "all cores, ms", minor=True),
        Column("peak", "memory"),
    )
    rows = tuple(_speed_row(mobile, artifact) for artifact in said.by_precision(mobile))
    remark = (
        f"Host CPU, not a phone: a phone's order may be another. In process, one sample at a time, each "
        "artifact in a process of its own. Load, first call and peak memory with one thread; memory "
        f"above the same process without a model{_memory(mobile)}.{_threads(mobile)}"
    )
    return Table(f"Speed on this host ({said.HOST})", columns, rows, remark)


def _memory(mobile: MobileRecord) -> str:
    return f", read from {mobile.memory_source}" if mobile.memory_source else ""


def _threads(mobile: MobileRecord) -> str:
    counts = {timing.threads_count for artifact in mobile.artifacts if (timing := said.all_cores(artifact))}
    return f" All cores: {fmt.plural(max(counts), 'thread')}." if counts else ""


def _speed_row(mobile: MobileRecord, artifact: MobileArtifactRecord) -> tuple[Cell, ...]:
    single, every = said.single(artifact), said.all_cores(artifact)
    return (
        *_named(mobile, artifact),
        _timed(artifact, single, lambda it: it.load_ms),
        _timed(artifact, single, lambda it: it.first_inference_ms),
        *(_percentile(artifact, single, which, NOT_TIMED) for which in ("p50", "p95")),
        *(_percentile(artifact, every, which, ONE_CORE) for which in ("p50", "p95")),
        _peak(artifact, single),
    )


def _timed(
    artifact: MobileArtifactRecord, timing: TimingRecord | None, take: Callable[[TimingRecord], float]
) -> Cell:
    value = take(timing) if timing else None
    return number(value, fmt.significant, unit="ms", why=_unknown(artifact, NOT_TIMED))


def _percentile(artifact: MobileArtifactRecord, timing: TimingRecord | None, which: str, why: str) -> Cell:
    if timing is None:
        return missing(_unknown(artifact, why))
    reason = timing.reasons.get(f"{which}_ms") or timing.reasons.get(which)
    value: float | None = getattr(timing, f"{which}_ms")
    why = sentence(reason) if reason else "not measured, and the record gives no reason"
    return number(value, fmt.significant, unit="ms", why=why)


def _peak(artifact: MobileArtifactRecord, timing: TimingRecord | None) -> Cell:
    if timing is None or timing.peak_memory_bytes is None:
        return missing(_unknown(artifact, "not readable on this machine" if timing else NOT_TIMED))
    return _bytes(timing.peak_memory_bytes)


def content_table(mobile: MobileRecord) -> Table:
    """Show what is inside each artifact, and the library it needs beside itself."""
    columns = (
        *NAMED,
        Column("parameters", minor=True),
        Column("operations", minor=True),
        Column("delegated"),
        Column("delegate", numeric=False, minor=True),
        Column("runtime library", numeric=False),
        Column("library size"),
        Column("sha256", numeric=False, minor=True),
    )
    rows = tuple(_content_row(mobile, artifact) for artifact in said.by_precision(mobile))
    remark = "Delegated: the share of the operations that the delegate takes over."
    return Table("What each holds and needs", columns, rows, remark)


def _content_row(mobile: MobileRecord, artifact: MobileArtifactRecord) -> tuple[Cell, ...]:
    why = _unknown(artifact, NOT_SAID)
    library = mobile.runtimes.get(artifact.runtime_library)
    delegated = said.delegated_share(artifact)
    exact = None if delegated is None else f"{artifact.delegated_ops_count} of {artifact.ops_count}"
    return (
        *_named(mobile, artifact),
        number(artifact.parameters_count, fmt.count, unit="", why=why),
        number(artifact.ops_count, fmt.count, unit="", why=why),
        missing(why) if delegated is None else word(fmt.percent(delegated), exact=exact),
        word(artifact.delegate or "none"),
        word(artifact.runtime_library if library is None else library.name),
        missing("the library was not found") if library is None else _bytes(library.size_bytes),
        code(artifact.sha256[:DIGEST_DIGITS], exact=artifact.sha256),
    )


def error_table(mobile: MobileRecord) -> Table:
    """List the artifacts that could not be run, and why."""
    columns = (*NAMED, Column("error", numeric=False))
    rows = tuple(
        (*_named(mobile, artifact), word(artifact.error, tone="bad"))
        for artifact in said.by_precision(mobile)
        if artifact.error
    )
    return Table("Could not be run", columns, rows)


def not_exported_table(mobile: MobileRecord) -> Table:
    """List what could not be written for this model, and why."""
    columns = (
        Column("precision", numeric=False),
        Column("target", numeric=False),
        Column("format", numeric=False),
        Column("variant", numeric=False, minor=True),
        Column("why", numeric=False),
    )
    rows = tuple(
        (
            word(omission.precision or "all"),
            target_cell(omission.target),
            word(omission.format or "all"),
            word(omission.variant or fmt.MISSING),
            word(omission.reason),
        )
        for omission in mobile.not_exported
    )
    return Table("Could not be exported", columns, rows)


def library_table(mobile: MobileRecord) -> Table:
    """List the libraries that the artifacts need on a device, as this host has them."""
    columns = (
        Column("library", numeric=False),
        Column("version", numeric=False),
        Column("size"),
        Column("counted", numeric=False),
    )
    rows = tuple(
        (word(runtime.name), word(runtime.version), _bytes(runtime.size_bytes), word(runtime.source))
        for runtime in mobile.runtimes.values()
    )
    remark = "As installed on this host; a build for a phone, cut down to the operations in use, is smaller."
    return Table("Runtime libraries", columns, rows, remark)


def timing_table(run: RunRecord) -> Table:
    """Show how each latency was taken, and where its raw times are; no rows without mobile artifacts."""
    columns = (
        *NAMED,
        Column("threads"),
        Column("warm-up", "calls"),
        Column("calls"),
        Column("took", "s"),
        Column("steal"),
        Column("foreign CPU"),
        Column("raw times", numeric=False),
    )
    rows = _timing_rows(run.mobile) if run.mobile else ()
    return Table(f"Every timing of an artifact ({said.HOST})", columns, rows)


def _timing_rows(mobile: MobileRecord) -> tuple[tuple[Cell, ...], ...]:
    return tuple(
        (*_named(mobile, artifact), *_timing_cells(timing))
        for artifact in said.by_precision(mobile)
        for timing in artifact.timings
    )


def _timing_cells(timing: TimingRecord) -> tuple[Cell, ...]:
    why = "not readable on this machine"
    return (
        word(str(timing.threads_count)),
        word(fmt.count(timing.warmup_runs_count)),
        word(fmt.count(timing.runs_count)),
        number(timing.elapsed_s, fmt.significant, unit="s", why="not measured"),
        number(timing.cpu_steal_share, fmt.percent, unit="of 1", why=why),
        number(timing.foreign_cpu_share, fmt.percent, unit="of 1", why=why),
        missing("no raw times were kept") if timing.samples_file is None else code(timing.samples_file),
    )

"""Tables of what was measured: latencies, rounds, errors, memory, cold starts."""

from dataclasses import replace

from loadtests.validity import is_finding as fails_by_server
from pipelines.console import format as fmt
from pipelines.record.rounds import ErrorRecord, LatencyRecord, RoundRecord
from pipelines.record.run import RunRecord
from pipelines.record.target import SummaryRecord
from pipelines.report import pick
from pipelines.report.reasons import kinds, reasons
from pipelines.report.sentences import sentence, sentences
from pipelines.report.table import Cell, Column, Table, code, missing, number, target_cell, word

PERCENTILES = ("p50", "p90", "p95", "p99", "max")
EXAMPLE_CHARACTERS = 160
POOLED_REMARK = (
    "All requests of a target's valid rounds pooled; only successful requests have a latency. With each "
    f"percentile its 95{fmt.THIN}% interval from order statistics, as if requests were independent: how well "
    "so many of them know it, not how far it moves from round to round."
)
NO_ROUND = "no valid round of this load"
UNUSED_REMARK = (
    "An invalid round is kept and measured again while retries last; it feeds no figure. Errors and wrong "
    "answers are findings about the server, and those rounds are not measured again."
)


def latency_table(run: RunRecord, load: str) -> Table:
    """Make a row per served target: pooled percentiles, throughput, errors, requests and rounds."""
    columns = (
        Column("target", numeric=False),
        Column("requests", minor=True),
        Column("errors"),
        *(Column(name, "ms", minor=name in ("p90", "max")) for name in PERCENTILES),
        Column("throughput", "/s"),
        Column("rounds", "valid", minor=True),
    )
    rows = tuple(
        _summary_row(target_cell(name, pick.label(run, name)), pick.summary_of(target, load))
        for name, target in pick.shown(run).items()
    )
    return Table(f"Latency and throughput under {fmt.one_line(load)}", columns, rows, POOLED_REMARK)


def _summary_row(name: Cell, summary: SummaryRecord | None) -> tuple[Cell, ...]:
    if summary is None or not summary.rounds_count:
        rounds = missing(NO_ROUND) if summary is None else word(_valid_rounds(summary))
        return name, *(missing(NO_ROUND) for _ in range(len(PERCENTILES) + 3)), rounds
    return (
        name,
        word(fmt.count(summary.requests_count)),
        word(fmt.count(summary.errors_count)),
        *(latency_cell(summary.latency_ms, which) for which in PERCENTILES),
        number(summary.throughput_per_s, fmt.rate_number, unit="/s", why=NO_ROUND),
        word(_valid_rounds(summary)),
    )


def _valid_rounds(summary: SummaryRecord) -> str:
    return f"{summary.rounds_count} of {summary.rounds_count + summary.invalid_rounds_count}"


def latency_cell(latency: LatencyRecord, which: str) -> Cell:
    """Show one percentile with its interval, or a dash with the reason the record gives."""
    reason = latency.reasons.get(which)
    why = sentence(reason) if reason else "not measured, and the record gives no reason"
    cell = number(getattr(latency, which), fmt.significant, unit="ms", why=why)
    interval = latency.intervals.get(which)
    return replace(cell, beside=fmt.span(interval, fmt.significant)) if interval else cell


def rounds_table(run: RunRecord) -> Table:
    """Make a row per round, invalid ones with their reasons."""
    columns = (
        Column("round"),
        Column("block"),
        Column("repetition"),
        Column("try"),
        Column("load", numeric=False),
        Column("target", numeric=False),
        Column("requests"),
        Column("errors"),
        Column("p50", "ms"),
        Column("p99", "ms"),
        Column("throughput", "/s"),
        Column("used", numeric=False),
    )
    unused = {record.index for record in pick.unused(run)}
    rows = tuple(_round_row(record, used=record.index not in unused) for record in pick.all_rounds(run))
    return Table("Every round, in the order measured", columns, rows)


def _round_row(record: RoundRecord, *, used: bool) -> tuple[Cell, ...]:
    return (
        word(str(record.index)),
        word(str(record.block)),
        word(str(record.repetition)),
        word(str(record.attempt + 1)),
        word(record.load),
        target_cell(record.target),
        word(fmt.count(record.requests_count)),
        word(fmt.count(record.errors_count)),
        latency_cell(record.latency_ms, "p50"),
        latency_cell(record.latency_ms, "p99"),
        number(record.throughput_per_s, fmt.rate_number, unit="/s", why="not measured in this round"),
        word(validity(record, used=used), tone=None if used else "bad"),
    )


def validity(record: RoundRecord, *, used: bool = False) -> str:
    """Return `valid`, or the reasons: why it was `not used`, or which signs of `overload` a search found."""
    if record.valid:
        return "valid"
    kind = "overload" if used else "finding, not used" if is_finding(record) else "not used"
    return f"{kind}: {sentences(reasons(record))}"


def is_finding(record: RoundRecord) -> bool:
    """Return whether an unused round shows something of the server: errors or wrong answers."""
    return fails_by_server(record.failed_checks)


def invalid_table(run: RunRecord) -> Table:
    """List the rounds that were not used, with the reasons and what to do; no rows when all were used."""
    columns = (
        Column("round"),
        Column("block", minor=True),
        Column("load", numeric=False),
        Column("target", numeric=False),
        Column("try"),
        Column("why it was not used", numeric=False),
    )
    rows = tuple(_invalid_row(run, record) for record in pick.unused(run))
    return Table("Rounds that were not used", columns, rows, UNUSED_REMARK)


def _invalid_row(run: RunRecord, record: RoundRecord) -> tuple[Cell, ...]:
    return (
        word(str(record.index)),
        word(str(record.block)),
        word(record.load),
        target_cell(record.target, pick.label(run, record.target)),
        word(str(record.attempt + 1)),
        word(("finding: " if is_finding(record) else "") + sentences(reasons(record)), tone="bad"),
    )


def invalid_by_reason(run: RunRecord) -> Table:
    """Count the rounds that were not used, one row per kind of reason, where there is little room."""
    columns = (Column("rounds"), Column("why they were not used", numeric=False))
    rounds, unused = pick.all_rounds(run), pick.unused(run)
    rows = tuple(
        (word(str(kind.rounds_count)), word(str(kind.said) + (" (and the like)" if kind.alike else "")))
        for kind in kinds(unused)
    )
    return Table(f"Rounds that were not used: {len(unused)} of {len(rounds)}", columns, rows)


def conditions_table(run: RunRecord) -> Table:
    """Show per round what generator and machine did meanwhile, and where the raw requests are."""
    columns = (
        Column("round"),
        Column("target", numeric=False),
        Column("started", "UTC", numeric=False, minor=True),
        Column("warm-up", "s"),
        Column("window", "s"),
        Column("checked"),
        Column("wrong"),
        Column("generator CPU"),
        Column("steal"),
        Column("foreign CPU"),
        Column("raw requests", numeric=False),
    )
    rows = tuple(_condition_row(record) for record in pick.all_rounds(run))
    return Table("Conditions and raw files of every round", columns, rows)


def _condition_row(record: RoundRecord) -> tuple[Cell, ...]:
    why = "not readable on this machine"
    return (
        word(str(record.index)),
        target_cell(record.target),
        word(record.started_at_utc),
        number(record.warmup_s, fmt.significant, unit="s", why=why),
        number(record.window_s, fmt.significant, unit="s", why=why),
        word(fmt.count(record.checked_count)),
        word(fmt.count(record.wrong_count), tone="bad" if record.wrong_count else None),
        number(record.generator.cpu_share, fmt.percent, unit="of 1", why=why),
        number(record.cpu_steal_share, fmt.percent, unit="of 1", why=why),
        number(record.foreign_cpu_share, fmt.percent, unit="of 1", why=why),
        code(record.samples_file),
    )


def errors_table(run: RunRecord) -> Table:
    """Count failed requests by round and kind; no rows when all succeeded."""
    columns = (
        Column("round"),
        Column("load", numeric=False),
        Column("target", numeric=False),
        Column("kind", numeric=False),
        Column("count"),
        Column("example", numeric=False),
    )
    rows = tuple(
        (word(str(record.index)), word(record.load), target_cell(record.target), *_error_cells(error))
        for record in pick.all_rounds(run)
        for error in record.errors
    )
    return Table("Failed requests", columns, rows)


def _error_cells(error: ErrorRecord) -> tuple[Cell, ...]:
    example = fmt.shortened(error.example, EXAMPLE_CHARACTERS)
    return word(error.kind), word(fmt.count(error.count)), word(example)


AS_PROCESSES = (
    "Proportional set size of the server's whole process tree: idle before the first load, peak the largest "
    "sample taken at the end of a round."
)
IN_CONTAINERS = (
    "The kernel's count for the container: idle before the first load without file pages that could be "
    "dropped, peak the most it ever held with them. Not to be compared with that of local processes."
)


def memory_table(run: RunRecord) -> Table:
    """Show server memory per target."""
    columns = (Column("target", numeric=False), Column("idle"), Column("peak"))
    rows = tuple(
        (
            target_cell(name),
            _bytes(target.memory.idle_bytes, "not sampled before the first load"),
            _bytes(target.memory.peak_bytes, "not sampled at the end of a round"),
        )
        for name, target in pick.compared(run).items()
    )
    contained = any(target.memory.source == "cgroup" for target in run.targets.values())
    return Table("Server memory", columns, rows, IN_CONTAINERS if contained else AS_PROCESSES)


def image_table(run: RunRecord) -> Table:
    """List the image of each target that ran in a container; no rows where none did."""
    columns = (
        Column("target", numeric=False),
        Column("image", numeric=False),
        Column("on disk"),
        Column("compressed"),
    )
    images = {name: target.implementation.image for name, target in pick.compared(run).items()}
    rows = tuple(
        (
            target_cell(name),
            code(image.reference),
            _bytes(image.size_bytes, "not known"),
            _bytes(image.compressed_bytes, "not measured"),
        )
        for name, image in images.items()
        if image is not None
    )
    return Table("Images", columns, rows, "Compressed: what a registry would send, every layer with gzip.")


def _bytes(value: int | None, why: str) -> Cell:
    return missing(why) if value is None else Cell(fmt.size(value), exact=fmt.exact_bytes(value))


def _seconds(value: float) -> Cell:
    return number(value, fmt.significant, unit="s", why="not measured")


def cold_start_table(run: RunRecord) -> Table:
    """List times from process start, one row per target and block."""
    columns = (
        Column("target", numeric=False),
        Column("block"),
        Column("ready after", "s"),
        Column("first right answer after", "s"),
    )
    rows = tuple(
        (
            target_cell(name),
            word(str(start.block)),
            _seconds(start.ready_s),
            _seconds(start.first_right_answer_s),
        )
        for name, target in pick.compared(run).items()
        for start in target.cold_starts
    )
    return Table("Cold start", columns, rows, "Counted from the start of the server's process.")

"""The same model over every protocol and kind of body of a run: bytes, latency, and cost per row."""

from statistics import median

from pipelines.console import format as fmt
from pipelines.record.run import RunRecord
from pipelines.record.target import PayloadRecord, TargetRecord
from pipelines.report import pick
from pipelines.report.measured import NO_ROUND, latency_cell
from pipelines.report.table import Cell, Column, Table, missing, number, target_cell, word

REMARK = (
    "A row is one sample. Time per row is p50 of a request over its rows. Server CPU is all that the server "
    "used in valid rounds, warm-up included, over all rows it was asked in that time. Requests per run of "
    "the model are the server's own count."
)
NOT_BATCHED = "the server does not batch, or does not tell"
NO_CPU = "no valid round in which the server's CPU time was read"


def protocol_table(run: RunRecord) -> Table:
    """Make a row per compared side and load; none where all are asked alike, one row each, unbatched."""
    columns = (
        Column("target", numeric=False),
        Column("over", numeric=False),
        Column("body", numeric=False),
        Column("load", numeric=False, minor=True),
        Column("request", "bytes"),
        Column("rows in it"),
        Column("p50", "ms"),
        Column("p99", "ms"),
        Column("per row", "ms"),
        Column("rows", "/s"),
        Column("server CPU per row", "ms"),
        Column("requests per run"),
    )
    rows = tuple(
        (target_cell(name, pick.label(run, name)), *_row(target, payload, load))
        for load in pick.loads(run)
        for name, target in pick.compared(run).items()
        if (payload := target.payload) is not None
    )
    return Table(
        "The same model over every protocol and body", columns, rows if _says_something(run) else (), REMARK
    )


def _says_something(run: RunRecord) -> bool:
    targets = pick.compared(run).values()
    payloads = [target.payload for target in targets if target.payload is not None]
    ways = {(payload.protocol, payload.codec) for payload in payloads}
    batched = any(record.requests_per_run is not None for target in targets for record in target.rounds)
    return len(ways) > 1 or any(payload.rows > 1 for payload in payloads) or batched


def _row(target: TargetRecord, payload: PayloadRecord, load: str) -> tuple[Cell, ...]:
    summary = pick.summary_of(target, load)
    request_cells = (
        word(payload.protocol),
        word(payload.codec),
        word(load),
        _bytes(payload),
        word(str(payload.rows)),
    )
    valid = [record for record in target.rounds if record.valid and record.load == load]
    per_run = [record.requests_per_run for record in valid if record.requests_per_run is not None]
    shared = number(median(per_run) if per_run else None, fmt.significant, unit="", why=NOT_BATCHED)
    if summary is None or not summary.rounds_count:
        return *request_cells, *(missing(NO_ROUND) for _ in range(4)), missing(NO_CPU), shared
    p50, rate = summary.latency_ms.p50, summary.throughput_per_s
    return (
        *request_cells,
        latency_cell(summary.latency_ms, "p50"),
        latency_cell(summary.latency_ms, "p99"),
        number(None if p50 is None else p50 / payload.rows, fmt.significant, unit="ms", why=NO_ROUND),
        number(None if rate is None else rate * payload.rows, fmt.rate_number, unit="/s", why=NO_ROUND),
        number(summary.server_cpu_ms_per_row, fmt.significant, unit="ms", why=NO_CPU),
        shared,
    )


def _bytes(payload: PayloadRecord) -> Cell:
    least, most = payload.body_bytes_min, payload.body_bytes_max
    return word(fmt.count(most) if least == most else f"{fmt.count(least)} to {fmt.count(most)}")

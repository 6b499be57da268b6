"""The same model over every protocol and kind of body of a run: bytes, latency, and cost per row."""

from dataclasses import replace

from pipelines.console import format as fmt
from pipelines.judge.per_row import interval_per_row, ms_per_row, requests_per_run, rows_per_s
from pipelines.record.rounds import LatencyRecord
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
    shared = number(requests_per_run(target.rounds, load), fmt.significant, unit="", why=NOT_BATCHED)
    if summary is None or not summary.rounds_count:
        return *request_cells, *(missing(NO_ROUND) for _ in range(4)), missing(NO_CPU), shared
    rate = rows_per_s(summary.throughput_per_s, payload.rows)
    return (
        *request_cells,
        latency_cell(summary.latency_ms, "p50"),
        latency_cell(summary.latency_ms, "p99"),
        _per_row(summary.latency_ms, payload.rows),
        number(rate, fmt.rate_number, unit="/s", why=NO_ROUND),
        number(summary.server_cpu_ms_per_row, fmt.significant, unit="ms", why=NO_CPU),
        shared,
    )


def _per_row(latency: LatencyRecord, rows: int) -> Cell:
    cell = number(ms_per_row(latency.p50, rows), fmt.significant, unit="ms", why=NO_ROUND)
    interval = interval_per_row(latency.intervals.get("p50"), rows)
    return replace(cell, beside=fmt.span(interval, fmt.significant)) if interval else cell


def _bytes(payload: PayloadRecord) -> Cell:
    least, most = payload.body_bytes_min, payload.body_bytes_max
    return word(fmt.count(most) if least == most else f"{fmt.count(least)} to {fmt.count(most)}")

"""How much of what an artifact does in process its server delivers."""

from pipelines.console import format as fmt
from pipelines.judge.per_row import rows_per_s
from pipelines.record.run import RunRecord
from pipelines.record.target import SummaryRecord, TargetRecord
from pipelines.report import pick
from pipelines.report.measured import NO_ROUND
from pipelines.report.table import Cell, Column, Table, missing, number, target_cell, word

REMARK = (
    "In process: the served artifact alone, called without a pause on the servers' cores and in the batches "
    "that its server made, while all servers were paused. Efficiency is served rows over those, with the "
    "95 % interval."
)
NOT_TIMED = "what this side serves was not timed in process"
TOO_FEW = "too few valid rounds for an interval"


def efficiency_table(run: RunRecord) -> Table:
    """Make a table with a row per compared side and load; empty where nothing was timed in process."""
    columns = (
        Column("target", numeric=False),
        Column("load", numeric=False, minor=True),
        Column("format", numeric=False),
        Column("batch", "rows"),
        Column("in process", "rows/s"),
        Column("served", "rows/s"),
        Column("efficiency", "%"),
    )
    timed = any(target.in_process for target in pick.compared(run).values())
    rows = tuple(
        (target_cell(name, pick.label(run, name)), word(load), *_row(target, pick.summary_of(target, load)))
        for load in pick.loads(run)
        for name, target in pick.compared(run).items()
        if timed
    )
    return Table("Served against in process", columns, rows, REMARK)


def _row(target: TargetRecord, summary: SummaryRecord | None) -> tuple[Cell, ...]:
    rows = target.payload.rows if target.payload else 1
    rate = summary.throughput_per_s if summary else None
    served = number(rows_per_s(rate, rows), fmt.rate_number, unit="/s", why=NO_ROUND)
    limit, efficiency = target.in_process, summary.efficiency if summary else None
    if limit is None:
        return *(missing(NOT_TIMED) for _ in range(3)), served, missing(NOT_TIMED)
    return (
        word(limit.format),
        word(str(limit.rows)),
        number(limit.rows_per_s, fmt.rate_number, unit="/s", why=NOT_TIMED),
        served,
        word(f"{efficiency.ratio:.0%} ({efficiency.low:.0%} to {efficiency.high:.0%})")
        if efficiency
        else missing(TOO_FEW),
    )

"""Where the time of a request goes, side by side."""

from pipelines.console import format as fmt
from pipelines.record.run import RunRecord
from pipelines.record.target import SummaryRecord
from pipelines.record.time_split import TimeSplitRecord
from pipelines.report import pick
from pipelines.report.measured import latency_cell
from pipelines.report.sentences import sentences
from pipelines.report.table import Cell, Column, Table, missing, number, target_cell, word
from pipelines.targets.timings import PARTS

REMARK = (
    "Means over valid rounds, their warm-up included, as the servers count; transport is the null server's "
    "own time for such a request. Unexplained is p50 without all parts."
)
NOT_TOLD = "neither the server nor the null server tells"


def splits(run: RunRecord) -> dict[str, dict[str, TimeSplitRecord | None]]:
    """Return the splits by load and compared side."""
    by_load = {}
    for load in pick.loads(run):
        own = {name: pick.summary_of(target, load) for name, target in pick.compared(run).items()}
        by_load[load] = {name: summary.time_split if summary else None for name, summary in own.items()}
    return by_load


def time_table(run: RunRecord) -> Table:
    """Make a row per compared side and load; none where no server tells."""
    columns = (
        Column("target", numeric=False),
        Column("load", numeric=False, minor=True),
        Column("p50", "ms"),
        *(Column("decode + encode" if part == "codec" else part, "ms") for part in PARTS),
        Column("unexplained", "ms"),
    )
    any_split = any(split for own in splits(run).values() for split in own.values())
    rows = tuple(
        (
            target_cell(name, pick.label(run, name)),
            word(load),
            *_row(pick.summary_of(target, load)),
        )
        for load in pick.loads(run)
        for name, target in pick.compared(run).items()
        if any_split
    )
    return Table("Parts of a request's time", columns, rows, REMARK)


def _row(summary: SummaryRecord | None) -> tuple[Cell, ...]:
    split = summary.time_split if summary else None
    if summary is None or split is None:
        return tuple(missing(NOT_TOLD) for _ in range(len(PARTS) + 2))
    parts = (
        number(split.parts_ms.get(part), fmt.significant, unit="ms", why=NOT_TOLD)
        if part in split.parts_ms
        else word("")
        for part in PARTS
    )
    rest = word(f"{fmt.significant(split.unexplained_ms)} ({split.unexplained_share:.0%})")
    p50 = latency_cell(summary.latency_ms, "p50")
    return (p50, *parts, Cell(rest.text, why=sentences(split.reasons)) if split.reasons else rest)

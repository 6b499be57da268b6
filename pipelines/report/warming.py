"""How long fresh servers took until they were steady, and where rounds still drifted."""

from pipelines.console import format as fmt
from pipelines.record.conditioning import ConditioningRecord, DriftRecord
from pipelines.record.run import RunRecord
from pipelines.record.target import TargetRecord
from pipelines.report import pick
from pipelines.report.figures.curves import Curves
from pipelines.report.table import Cell, Column, Table, missing, number, target_cell, word

REMARK = (
    "Seconds and requests of load until a fresh server had stopped getting faster; a deployment that scales "
    "on demand spends its life there. Rounds were measured afterwards."
)
NOT_STEADY = {
    "steady": "its start was not seen",
    "climbing": "it still got faster when the budget of conditioning ended",
    "unsettled": "its speed varied too much to show that it was steady within the budget",
}


def curves(run: RunRecord) -> Curves:
    """Return the first load of each side's fresh servers, in the order of blocks; no controls."""
    return {
        pick.label(run, name): _first(target) for name, target in pick.compared(run).items() if _first(target)
    }


def _first(target: TargetRecord) -> tuple[ConditioningRecord, ...]:
    """Return the first conditioning of each block: that of a fresh server."""
    by_block: dict[int, ConditioningRecord] = {}
    for conditioning in target.conditionings:
        by_block.setdefault(conditioning.block, conditioning)
    return tuple(by_block.values())


def warming_table(run: RunRecord) -> Table:
    """Make a row per fresh server of a side: time and requests until steady, speed before and after."""
    columns = (
        Column("target", numeric=False),
        Column("block"),
        Column("until steady", "s"),
        Column("requests until then", minor=True),
        Column("first second", "/s"),
        Column("when steady", "/s"),
        Column("loaded for", "s", minor=True),
    )
    rows = tuple(
        (target_cell(name, pick.label(run, name)), *_row(conditioning))
        for name, target in pick.compared(run).items()
        for conditioning in _first(target)
    )
    return Table("Time until steady", columns, rows, " ".join([REMARK, *_spreads(run)]))


def _row(conditioning: ConditioningRecord) -> tuple[Cell, ...]:
    why = NOT_STEADY.get(conditioning.state, "")
    counts = [second.requests_count for second in conditioning.seconds]
    steady = counts[int(conditioning.until_steady_s) :] if conditioning.until_steady_s is not None else []
    return (
        word(str(conditioning.block)),
        number(conditioning.until_steady_s, fmt.significant, unit="s", why=why),
        word(fmt.count(conditioning.until_steady_requests_count))
        if conditioning.until_steady_requests_count is not None
        else missing(why),
        number(counts[0] if counts else None, fmt.rate_number, unit="/s", why="not a whole second of load"),
        number(sum(steady) / len(steady) if steady else None, fmt.rate_number, unit="/s", why=why),
        number(conditioning.duration_s, fmt.significant, unit="s", why=""),
    )


def _spreads(run: RunRecord) -> list[str]:
    """List each side's range over blocks."""
    lines = []
    for label, records in curves(run).items():
        times_s = [record.until_steady_s for record in records if record.until_steady_s is not None]
        if times_s:
            ends = fmt.significant(min(times_s)), fmt.significant(max(times_s))
            lines.append(f"{label}: {ends[0]} to {ends[1]} s over {len(times_s)} of {len(records)} starts.")
    return lines


def _what_followed(drift: DriftRecord) -> str:
    if drift.resolved:
        return "conditioned further, measured again"
    return (
        "no verdict: still warming up" if drift.change > 0 else "nothing: it got slower, which is no warm-up"
    )


def drift_table(run: RunRecord) -> Table:
    """List blocks whose rounds still drifted; no rows where none did."""
    columns = (
        Column("target", numeric=False),
        Column("block"),
        Column("load", numeric=False),
        Column("last over first round"),
        Column("what followed", numeric=False),
    )
    rows = tuple(
        (
            target_cell(name, pick.label(run, name)),
            word(str(drift.block)),
            word(drift.load),
            word(f"{drift.change:+.0%}"),
            word(_what_followed(drift)),
        )
        for name, target in pick.served(run).items()
        for drift in target.drifts
    )
    return Table("Rounds that drifted", columns, rows)

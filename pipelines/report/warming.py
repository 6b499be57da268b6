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
    found: dict[int, ConditioningRecord] = {}
    for one in target.conditionings:
        found.setdefault(one.block, one)
    return tuple(found.values())


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
        (target_cell(name, pick.label(run, name)), *_row(one))
        for name, target in pick.compared(run).items()
        for one in _first(target)
    )
    return Table("Time until steady", columns, rows, " ".join([REMARK, *_spreads(run)]))


def _row(one: ConditioningRecord) -> tuple[Cell, ...]:
    why = NOT_STEADY.get(one.state, "")
    counts = [second.requests_count for second in one.seconds]
    steady = counts[int(one.until_steady_s) :] if one.until_steady_s is not None else []
    return (
        word(str(one.block)),
        number(one.until_steady_s, fmt.significant, unit="s", why=why),
        word(fmt.count(one.until_steady_requests_count))
        if one.until_steady_requests_count is not None
        else missing(why),
        number(counts[0] if counts else None, fmt.rate_number, unit="/s", why="not a whole second of load"),
        number(sum(steady) / len(steady) if steady else None, fmt.rate_number, unit="/s", why=why),
        number(one.duration_s, fmt.significant, unit="s", why=""),
    )


def _spreads(run: RunRecord) -> list[str]:
    """List each side's range over blocks."""
    found = []
    for label, records in curves(run).items():
        known = [one.until_steady_s for one in records if one.until_steady_s is not None]
        if known:
            ends = fmt.significant(min(known)), fmt.significant(max(known))
            found.append(f"{label}: {ends[0]} to {ends[1]} s over {len(known)} of {len(records)} starts.")
    return found


def _what_followed(one: DriftRecord) -> str:
    if one.resolved:
        return "conditioned further, measured again"
    return "no verdict: still warming up" if one.change > 0 else "nothing: it got slower, which is no warm-up"


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
            word(str(one.block)),
            word(one.load),
            word(f"{one.change:+.0%}"),
            word(_what_followed(one)),
        )
        for name, target in pick.served(run).items()
        for one in target.drifts
    )
    return Table("Rounds that drifted", columns, rows)

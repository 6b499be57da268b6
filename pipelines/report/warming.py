"""How long fresh servers took until they were steady, and where rounds still drifted."""

from pipelines.console import format as fmt
from pipelines.judge.warming import first_rate, steady_rate, until_steady_range
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


def curves(run: RunRecord, most: int | None = None) -> tuple[Curves, str]:
    """Return the first load of each side's fresh servers, in the order of blocks; no controls.

    Of more than `most` servers those of some blocks, evenly over the run, and words that say so: sides of one
    block stay together.
    """
    by_side = {
        pick.label(run, name): first_loads(target)
        for name, target in pick.compared(run).items()
        if first_loads(target)
    }
    servers_count = sum(map(len, by_side.values()))
    if most is None or servers_count <= most:
        return by_side, ""
    blocks = sorted({conditioning.block for loads in by_side.values() for conditioning in loads})
    every = -(-servers_count // most)
    kept = set(blocks[::every])
    thinned = {name: tuple(each for each in loads if each.block in kept) for name, loads in by_side.items()}
    return thinned, f"one block in {every} of {len(blocks)}; "


def first_loads(target: TargetRecord) -> tuple[ConditioningRecord, ...]:
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
        for conditioning in first_loads(target)
    )
    return Table("Time until steady", columns, rows, " ".join([REMARK, *_spreads(run)]))


def _row(conditioning: ConditioningRecord) -> tuple[Cell, ...]:
    why = NOT_STEADY.get(conditioning.state, "")
    return (
        word(str(conditioning.block)),
        number(conditioning.until_steady_s, fmt.significant, unit="s", why=why),
        word(fmt.count(conditioning.until_steady_requests_count))
        if conditioning.until_steady_requests_count is not None
        else missing(why),
        number(first_rate(conditioning), fmt.rate_number, unit="/s", why="not a whole second of load"),
        number(steady_rate(conditioning), fmt.rate_number, unit="/s", why=why),
        number(conditioning.duration_s, fmt.significant, unit="s", why=""),
    )


def _spreads(run: RunRecord) -> list[str]:
    """List each side's range over blocks."""
    lines = []
    for label, records in curves(run)[0].items():
        spread = until_steady_range(records)
        if spread is not None:
            least, most, starts_count = spread
            ends = f"{fmt.significant(least)} to {fmt.significant(most)} s"
            lines.append(f"{label}: {ends} over {starts_count} of {len(records)} starts.")
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

"""What a history says on the terminal, and as JSON for programs."""

from dataclasses import asdict
from typing import Any

from rich.table import Table

from pipelines.console import format as fmt
from pipelines.console.printing import print_table, say
from pipelines.history.changes import FEWEST, Change
from pipelines.history.stage import History, Point, Series
from pipelines.outputs.markdown import SHOW


def facts(found: History) -> dict[str, Any]:
    """Return every run, every series with its points and changes, and what was left out."""
    return {
        "model": found.model,
        "runs": [asdict(entry) for entry in found.entries],
        "series": [_series(found, one) for one in found.series],
        "skipped": found.skipped,
    }


def _series(found: History, series: Series) -> dict[str, Any]:
    return {
        "of": series.key[0],
        "measure": series.key[1],
        "unit": series.key[2],
        "lower_is_better": series.points[0].figure.lower_is_better,
        "points": [_point(found, point) for point in series.points],
        "changes": [
            {"run_id": run_of(found, series, change), "factor": change.factor, "p_value": change.p_value}
            for change in series.changes
        ],
    }


def _point(found: History, point: Point) -> dict[str, Any]:
    figure = point.figure
    return {
        "run_id": found.entries[point.place].run_id,
        "value": figure.value,
        "low": figure.low,
        "high": figure.high,
    }


def run_of(found: History, series: Series, change: Change) -> str:
    """Return the run in which a new level began."""
    return found.entries[series.points[change.place].place].run_id


def change_text(found: History, series: Series, change: Change) -> str:
    """Describe a change of the level, and what else changed in that run."""
    entry = found.entries[series.points[change.place].place]
    also = f" (with {', '.join(each.field for each in entry.changed)})" if entry.changed else ""
    return f"to {fmt.ratio(change.factor)} times in {entry.run_id}{also}"


def print_history(found: History) -> None:
    """Print a row per series, then the runs whose environment changed, and what was left out."""
    table = Table(show_edge=False, pad_edge=False)
    for column in ("of", "measure", "runs", "first", "last", "last/first", "level moved"):
        table.add_column(column, overflow="fold")
    print_table(table, [_row(found, one) for one in found.series])
    for entry in found.entries:
        if entry.changed:
            say(f"{entry.run_id}: changed: {'; '.join(map(str, entry.changed))}")
    for name, why in found.skipped.items():
        say(f"left out: {name}: {why}")
    if len(found.entries) < FEWEST:
        runs = fmt.plural(len(found.entries), "run")
        say(f"{runs}; changes of level are looked for from {FEWEST} runs on")


def _row(found: History, series: Series) -> tuple[str, ...]:
    show = SHOW[series.key[2]]
    first, last = series.points[0].figure.value, series.points[-1].figure.value
    return (
        series.key[0],
        series.key[1],
        fmt.count(len(series.points)),
        show(first),
        show(last),
        fmt.MISSING if series.factor is None else fmt.ratio(series.factor),
        "; ".join(change_text(found, series, change) for change in series.changes) or fmt.MISSING,
    )

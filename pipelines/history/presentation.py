"""What a history says on the terminal, and as JSON for programs."""

from dataclasses import asdict
from typing import Any

from rich.table import Table

from pipelines.console import format as fmt
from pipelines.console.printing import print_table, say
from pipelines.history.changes import FEWEST, Change
from pipelines.history.stage import History, Point, Series
from pipelines.outputs.markdown import SHOW


def facts(past: History) -> dict[str, Any]:
    """Return every run, every series with its points and changes, and what was left out."""
    return {
        "model": past.model,
        "runs": [asdict(entry) for entry in past.entries],
        "series": [_series(past, series) for series in past.series],
        "skipped": past.skipped,
    }


def _series(past: History, series: Series) -> dict[str, Any]:
    return {
        "of": series.key[0],
        "measure": series.key[1],
        "unit": series.key[2],
        "lower_is_better": series.points[0].figure.lower_is_better,
        "points": [_point(past, point) for point in series.points],
        "changes": [
            {"run_id": run_of(past, series, change), "factor": change.factor, "p_value": change.p_value}
            for change in series.changes
        ],
    }


def _point(past: History, point: Point) -> dict[str, Any]:
    figure = point.figure
    return {
        "run_id": past.entries[point.place].run_id,
        "value": figure.value,
        "low": figure.low,
        "high": figure.high,
        "least": figure.least,
        "most": figure.most,
    }


def run_of(past: History, series: Series, change: Change) -> str:
    """Return the run in which a new level began."""
    return past.entries[series.points[change.place].place].run_id


def change_text(past: History, series: Series, change: Change) -> str:
    """Describe a change of the level, and what else changed in that run."""
    changed = series.points[change.place].changed
    also = f" (with {', '.join(each.field for each in changed)})" if changed else ""
    return f"to {fmt.ratio(change.factor)} times in {run_of(past, series, change)}{also}"


def print_history(past: History) -> None:
    """Print a row per series, then the runs whose environment changed, and what was left out."""
    table = Table(show_edge=False, pad_edge=False)
    for column in ("of", "measure", "runs", "first", "last", "last/first", "level moved"):
        table.add_column(column, overflow="fold")
    print_table(table, [_row(past, series) for series in past.series])
    for entry in past.entries:
        if entry.changed:
            say(f"{entry.run_id}: changed: {'; '.join(map(str, entry.changed))}")
    for name, why in past.skipped.items():
        say(f"left out: {name}: {why}")
    if len(past.entries) < FEWEST:
        runs = fmt.plural(len(past.entries), "run")
        say(f"{runs}; changes of level are looked for from {FEWEST} runs on")


def _row(past: History, series: Series) -> tuple[str, ...]:
    show = SHOW[series.key[2]]
    first, last = series.points[0].figure.value, series.points[-1].figure.value
    return (
        series.key[0],
        series.key[1],
        fmt.count(len(series.points)),
        show(first),
        show(last),
        fmt.MISSING if series.factor is None else fmt.ratio(series.factor),
        "; ".join(change_text(past, series, change) for change in series.changes) or fmt.MISSING,
    )

"""One page of trends, without a script or anything from elsewhere: a chart and a table per series."""

import hashlib
import re
from collections.abc import Callable, Iterator
from html import escape

from pipelines.console.format import plural
from pipelines.console.text import one_line
from pipelines.history.presentation import change_text
from pipelines.history.stage import History, Key, Point, Series
from pipelines.outputs.markdown import SHOW

WIDTH, HEIGHT = 720, 180
LEFT, RIGHT, TOP, BOTTOM = 84, 16, 14, 24
STYLE = """
:root { color-scheme: light dark; --ink: #1b1b1b; --faint: #767676; --line: #0b62a8; --bad: #b3261e;
  --page: #fff }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8e8e8; --faint: #9a9a9a; --line: #7ab8f5; --bad: #ff8a80; --page: #161616 }
}
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--page); max-width: 60rem;
  margin: 2rem auto; padding: 0 1rem }
svg { width: 100%; height: auto; font: 12px system-ui, sans-serif } svg text { fill: var(--faint) }
table { border-collapse: collapse; font-variant-numeric: tabular-nums } th, td { padding: .1rem .8rem .1rem 0;
  text-align: left; overflow-wrap: anywhere } h2 { font-size: 1.1rem; margin: 2rem 0 .3rem }
.level { stroke: var(--bad); stroke-width: 2 } .environment { stroke: var(--faint); stroke-dasharray: 3 4 }
.moved { color: var(--bad) } .link { color: var(--faint); text-decoration: underline }
h1, h2, li, p { overflow-wrap: anywhere }
"""


def render(past: History) -> str:
    """Render the page."""
    title = f"History of {one_line(past.model)}"
    return "\n".join(
        (
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(title)}</title><style>{STYLE}</style></head><body><main>",
            f"<h1>{escape(title)}</h1>",
            f"<p>{_summary(past)} Bars are 95&nbsp;% intervals, dotted ones ranges of rounds or servers; a "
            "dashed line is a run whose environment, servers' configuration, requests, profile, model or "
            "commit differs from the one before; a solid one is where a level moved.</p>",
            *(_section(past, series) for series in past.series),
            _runs(past),
            "</main></body></html>\n",
        )
    )


def _summary(past: History) -> str:
    moved = sum(bool(series.changes) for series in past.series)
    counted = f"{plural(len(past.entries), 'run')}, {plural(len(past.series), 'figure')}"
    return f"{counted}, {moved} of which moved to another level."


def section_id(key: Key) -> str:
    """Return the id of a series on the page: of what is shown, so that a link still leads there later."""
    words = re.sub(r"[^a-z0-9]+", "-", " ".join(key).lower()).strip("-")
    # Names that differ in other characters alone would give one id.
    return f"{words}-{hashlib.sha256(repr(key).encode()).hexdigest()[:6]}"


def _section(past: History, series: Series) -> str:
    moves = "".join(
        f'<p class="moved">Moved: {_text(change_text(past, series, change))}</p>' for change in series.changes
    )
    place = section_id(series.key)
    link = f'<a class="link" href="#{place}" aria-label="Link to {_text(series.name)}">#</a>'
    heading = f'<h2 id="{place}">{_text(series.name)} {link}</h2>'
    return f"<section>{heading}{_chart(past, series)}{moves}{_table(past, series)}</section>"


def _text(text: str) -> str:
    return escape(one_line(text))


def _chart(past: History, series: Series) -> str:
    show = SHOW[series.key[2]]
    low, high = _range(series)
    first, last = series.points[0].figure.value, series.points[-1].figure.value
    label = f"{series.name}: {len(series.points)} runs, from {show(first)} to {show(last)}"
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{_text(label)}">'
        f'<text x="{LEFT - 8}" y="{TOP + 4}" text-anchor="end">{_text(show(high))}</text>'
        f'<text x="{LEFT - 8}" y="{HEIGHT - BOTTOM}" text-anchor="end">{_text(show(low))}</text>'
        f"{''.join(_marks(past, series, low, high))}</svg>"
    )


def _range(series: Series) -> tuple[float, float]:
    ends = [n for p in series.points for n in (p.figure.value, *(p.figure.ends or ()))]
    low, high = min(ends), max(ends)
    return (low, high) if high > low else (low * 0.9, high * 1.1 or 1.0)


def _marks(past: History, series: Series, low: float, high: float) -> Iterator[str]:
    last = max(len(past.entries) - 1, 1)

    def x(place: int) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * place / last

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (value - low) / (high - low)

    def upright(place: int, kind: str) -> str:
        at = f"{x(place):.1f}"
        return f'<line class="{kind}" x1="{at}" x2="{at}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>'

    for point in series.points:
        if point.changed:
            yield upright(point.place, "environment")
    for change in series.changes:
        yield upright(series.points[change.place].place, "level")
    path = " ".join(f"{x(point.place):.1f},{y(point.figure.value):.1f}" for point in series.points)
    yield f'<polyline points="{path}" fill="none" stroke="var(--line)"/>'
    for point in series.points:
        yield from _point(past, point, x(point.place), y)


def _point(past: History, point: Point, x: float, y: Callable[[float], float]) -> Iterator[str]:
    figure, show = point.figure, SHOW[point.figure.unit]
    if figure.ends is not None:
        low, high = figure.ends
        dots = "" if figure.has_interval else ' stroke-dasharray="2 2"'
        yield (
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{y(low):.1f}" y2="{y(high):.1f}" '
            f'stroke="var(--line)"{dots}/>'
        )
    hover = f"{past.entries[point.place].run_id}: {show(figure.value)}"
    yield (
        f'<circle cx="{x:.1f}" cy="{y(figure.value):.1f}" r="3.5" fill="var(--line)">'
        f"<title>{_text(hover)}</title></circle>"
    )


def _table(past: History, series: Series) -> str:
    show = SHOW[series.key[2]]
    rows = []
    for point in series.points:
        figure = point.figure
        span = "" if figure.ends is None else " to ".join(map(show, figure.ends))
        if figure.ends is not None and not figure.has_interval:
            span = f"range {span}"
        cells = (past.entries[point.place].run_id, show(figure.value), span)
        rows.append(f"<tr>{''.join(f'<td>{_text(cell)}</td>' for cell in cells)}</tr>")
    head = "<tr><th>run</th><th>value</th><th>95&nbsp;% interval or range</th></tr>"
    return f"<details><summary>Figures</summary><table>{head}{''.join(rows)}</table></details>"


def _runs(past: History) -> str:
    rows = [
        f"<tr><td>{_text(entry.run_id)}</td><td>{_text(entry.git_commit or '')}</td>"
        f"<td>{_text('; '.join(map(str, entry.changed)))}</td></tr>"
        for entry in past.entries
    ]
    lost = "".join(f"<li>{_text(name)}: {_text(why)}</li>" for name, why in past.skipped.items())
    left_out = f"<h2>Left out</h2><ul>{lost}</ul>" if lost else ""
    head = "<tr><th>run</th><th>commit</th><th>changed since the run of its kind before</th></tr>"
    return f"<section><h2>Runs</h2><table>{head}{''.join(rows)}</table>{left_out}</section>"

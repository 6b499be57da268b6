"""Ratios with their intervals around 1: the margin shaded, the noise floor dashed, single pairs faint."""

import math
from dataclasses import dataclass

from pipelines.console.format import ratio, shortened_to, span, within
from pipelines.record.comparison import ComparisonRecord
from pipelines.report import pick
from pipelines.report.figures import draw
from pipelines.report.figures.scales import Log, log_ticks, tick_label

ROW, HEAD = 38.0, 30.0
NAME_CHARACTERS = 12
LEAST_REACH = math.log(1.25)


@dataclass(frozen=True)
class Row:
    """One comparison with the ratios of its single pairs."""

    comparison: ComparisonRecord

    @property
    def mirrored(self) -> bool:
        """Whether a larger ratio is the better one."""
        return pick.metric_key(self.comparison.metric) == pick.THROUGHPUT


def forest_plot(title: str, name: str, candidate: str, rows: list[Row]) -> str | None:
    """Draw the plot as SVG text; return None when no row has a ratio.

    `name` is an identifier that no other figure of the page has. Latencies stand above throughput, each with
    its own direction, because their good sides are opposite.
    """
    if not any(pick.ratio_of(row.comparison) for row in rows):
        return None
    panels = [panel for panel in (_of(rows, mirrored=False), _of(rows, mirrored=True)) if panel]
    height = sum(HEAD + ROW * len(panel) for panel in panels)
    frame = draw.Frame(height=height + 54, left=88, right=412, top=4, bottom=height + 6)
    x = _scale(rows, frame)
    svg = draw.figure(title, _description(rows), name, frame)
    _bands(svg, panels, x, frame)
    ticks = log_ticks(x.low, x.high)
    label = "ratio candidate / baseline (logarithmic)"
    draw.x_axis(svg, frame, draw.ticks_at(ticks, x, list(map(tick_label, ticks))), label, grid=False)
    top = frame.top
    for panel in panels:
        _directions(svg, candidate, frame, top + 19, mirrored=panel[0].mirrored)
        for place, row in enumerate(panel):
            _row(svg, row, x, top + HEAD + ROW * (place + 0.5))
        top += HEAD + ROW * len(panel)
    return draw.to_text(svg)


def _of(rows: list[Row], *, mirrored: bool) -> list[Row]:
    return [row for row in rows if row.mirrored == mirrored]


def _description(rows: list[Row]) -> str:
    clauses = [
        f"{pick.metric_name(comparison.metric)} {ratio(value)}"
        + (f", 95 % interval {span(comparison.interval, ratio)}" if comparison.interval else "")
        for comparison, value in ((row.comparison, pick.ratio_of(row.comparison)) for row in rows)
        if value is not None
    ]
    return f"Ratio of candidate to baseline: {'; '.join(clauses)}."


def _scale(rows: list[Row], frame: draw.Frame) -> Log:
    """Return a scale symmetric around 1, so that twice and half are as far away."""
    reach = max((abs(math.log(value)) for row in rows for value in _values(row) if value > 0), default=0.0)
    end = math.exp(max(reach * 1.08, LEAST_REACH))
    return Log(1 / end, end, frame.left, frame.right)


def _values(row: Row) -> list[float]:
    comparison = row.comparison
    ends = [
        *(comparison.interval or ()),
        *(comparison.verdict_interval or ()),
        *(comparison.round_range or ()),
        1 + comparison.margin,
        1 + (comparison.noise_floor or 0),
    ]
    return [*ends, *row.comparison.pair_ratios, *([comparison.ratio] if comparison.ratio else [])]


def _bands(svg: draw.Element, panels: list[list[Row]], x: Log, frame: draw.Frame) -> None:
    """Shade what does not matter and draw a line at no difference; both behind everything else."""
    top = frame.top
    for panel in panels:
        for place, row in enumerate(panel):
            limit, y = 1 + row.comparison.margin, top + HEAD + ROW * place
            draw.add(
                svg, "rect", x=x(1 / limit), y=y, width=x(limit) - x(1 / limit), height=ROW, class_="margin"
            )
        bottom = top + HEAD + ROW * len(panel)
        draw.line(svg, (x(1), top + HEAD), (x(1), bottom), "one")
        top = bottom


def _directions(svg: draw.Element, candidate: str, frame: draw.Frame, y: float, *, mirrored: bool) -> None:
    """Label the candidate's good side; for throughput the right one."""
    left, right = ("slower", "faster") if mirrored else ("faster", "slower")
    who = shortened_to(candidate, NAME_CHARACTERS)
    draw.add(svg, "text", text=f"← {who} {left}", x=frame.left, y=y)
    draw.add(svg, "text", text=f"{who} {right} →", x=frame.right, y=y, text_anchor="end")


def _row(svg: draw.Element, row: Row, x: Log, y: float) -> None:
    comparison, value = row.comparison, pick.ratio_of(row.comparison)
    group = draw.add(svg, "g", class_="ratio")
    draw.add(group, "title", text=_hover(comparison))
    draw.add(group, "text", text=pick.metric_name(comparison.metric), x=2, y=y + 4, class_="group")
    _noise(group, comparison, x, y)
    for pair in row.comparison.pair_ratios:
        draw.add(group, "circle", cx=x(pair), cy=y + 10, r=2.5, class_="pair")
    if comparison.verdict_interval is not None:
        low, high = comparison.verdict_interval
        draw.line(group, (x(low), y), (x(high), y), "judged")
    if comparison.interval is not None:
        _interval(group, x(comparison.interval[0]), x(comparison.interval[1]), y)
    if value is not None:
        kind = "estimate" if comparison.interval else "estimate alone"
        draw.add(group, "circle", cx=x(value), cy=y, r=4.5, class_=kind)
    label = "no ratio" if value is None else ratio(value)
    draw.add(group, "text", text=label, x=x.end + 10, y=y - 2, class_="value")
    draw.add(group, "text", text=comparison.verdict or "no verdict", x=x.end + 10, y=y + 14)


def _noise(group: draw.Element, comparison: ComparisonRecord, x: Log, y: float) -> None:
    if comparison.noise_floor is None:
        return
    for end in (1 / (1 + comparison.noise_floor), 1 + comparison.noise_floor):
        draw.line(group, (x(end), y - ROW / 2 + 3), (x(end), y + ROW / 2 - 3), "noise")


def _interval(group: draw.Element, low: float, high: float, y: float) -> None:
    draw.line(group, (low, y), (high, y), "interval")
    for end in (low, high):
        draw.line(group, (end, y - 5), (end, y + 5), "interval")


def _hover(comparison: ComparisonRecord) -> str:
    value = pick.ratio_of(comparison)
    parts = [
        f"{pick.metric_name(comparison.metric)} {'has no ratio' if value is None else ratio(value)}",
        f"95 % interval {span(comparison.interval, ratio)}" if comparison.interval else "no interval",
        f"margin {within(comparison.margin)}",
        "no noise floor"
        if comparison.noise_floor is None
        else f"noise floor {within(comparison.noise_floor)}",
        comparison.verdict or "no verdict",
    ]
    return ", ".join(parts)

"""Latency against throughput: a point per load and side, joined in the order of the loads."""

import itertools

from pipelines.console.format import milliseconds, one_line, rate
from pipelines.record.target import SummaryRecord
from pipelines.report import pick
from pipelines.report.figures import draw
from pipelines.report.figures.labels import Box, Space
from pipelines.report.figures.scales import Linear, Log, linear_ticks, log_domain, log_ticks, tick_label

FRAME = draw.Frame(width=640, height=370, left=52, right=626, top=32, bottom=316)
Curves = dict[str, list[SummaryRecord]]
WHICH = (("p50", "mark"), ("p99", "mark hollow"))


def load_curve_plot(curves: Curves, name: str, slots: dict[str, int]) -> str | None:
    """Draw each target's summaries, in order of load, as SVG text; return None without a point."""
    measured = [summary for own in curves.values() for summary in own if summary.throughput_per_s is not None]
    latencies = [value for summary in measured for value in _values(summary)]
    if not latencies:
        return None
    furthest = max(end for summary in measured for end in _reach(summary))
    x = Linear(0, furthest * 1.12 or 1.0, FRAME.left, FRAME.right)
    y = Log(*log_domain(latencies, margin=1.25), FRAME.bottom, FRAME.top)
    svg = draw.figure("Latency against throughput", _description(curves), name, FRAME)
    svg.set("class", "load-curve")
    _axes(svg, x, y)
    space = Space(Box(FRAME.left, FRAME.top - 6, FRAME.right, FRAME.bottom - 2))
    for summary in measured:
        for value in _values(summary):
            space.take_point((x(summary.throughput_per_s or 0.0), y(value)))
    for target, own in curves.items():
        _curve(svg, target, slots[target], [summary for summary in own if summary in measured], x, y, space)
    return draw.to_text(svg)


def _values(summary: SummaryRecord) -> list[float]:
    return [value for value in (summary.latency_ms.p50, summary.latency_ms.p99) if value is not None]


def _reach(summary: SummaryRecord) -> tuple[float, ...]:
    return (summary.throughput_per_s or 0.0, *(pick.round_range(summary, pick.THROUGHPUT) or ()))


def _description(curves: Curves) -> str:
    clauses = [
        f"{target} under {summary.load} {rate(summary.throughput_per_s)}, "
        f"p99 {milliseconds(summary.latency_ms.p99)}"
        for target, own in curves.items()
        for summary in own
        if summary.throughput_per_s is not None and summary.latency_ms.p99 is not None
    ]
    return f"Latency, logarithmic, over requests answered per second: {'; '.join(clauses)}."


def _axes(svg: draw.Element, x: Linear, y: Log) -> None:
    ticks = log_ticks(y.low, y.high)
    draw.y_axis(
        svg, FRAME, draw.ticks_at(ticks, y, list(map(tick_label, ticks))), "latency, ms (logarithmic)"
    )
    rates = linear_ticks(0, x.high, 6)
    labels = list(map(tick_label, rates))
    draw.x_axis(svg, FRAME, draw.ticks_at(rates, x, labels), "requests answered per second")


def _curve(
    svg: draw.Element, target: str, slot: int, own: list[SummaryRecord], x: Linear, y: Log, space: Space
) -> None:
    group = draw.add(svg, "g", class_=f"s{slot}")
    for which, kind in WHICH:
        percentiles = [
            (summary, value) for summary in own if (value := getattr(summary.latency_ms, which)) is not None
        ]
        at = [(x(summary.throughput_per_s or 0.0), y(value)) for summary, value in percentiles]
        for before, after in itertools.pairwise(at):
            draw.line(group, before, after, "search")
        for (summary, value), place in zip(percentiles, at, strict=True):
            _whisker(group, summary, which, place, x, y)
            mark = draw.marker(group, slot, place, 4.5, kind)
            hover = (
                f"{target}, {summary.load}: {which} {milliseconds(value)} at "
                f"{rate(summary.throughput_per_s or 0.0)}"
            )
            draw.add(mark, "title", text=one_line(hover))
            if which == "p99":
                named = space.name(summary.load, place)
                draw.add(
                    group,
                    "text",
                    text=named.text,
                    x=named.x,
                    y=named.y,
                    text_anchor=named.anchor,
                    class_="name",
                )


def _whisker(
    group: draw.Element, summary: SummaryRecord, which: str, place: draw.Point, x: Linear, y: Log
) -> None:
    """Draw across the lowest to the highest single round, and upright the percentile's interval."""
    span = pick.round_range(summary, pick.THROUGHPUT)
    if span:
        draw.line(group, (x(span[0]), place[1]), (x(span[1]), place[1]), "stick")
    interval = summary.latency_ms.intervals.get(which)
    if interval:
        draw.line(group, (place[0], y(interval[0])), (place[0], y(interval[1])), "stick")

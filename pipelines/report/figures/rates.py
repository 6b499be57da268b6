"""p99 against the offered rate, every measurement of an SLO search, with the limit."""

import itertools
from typing import Any

from pipelines.console.format import given_ms, milliseconds, percent, rate, span
from pipelines.record.slo import RatePointRecord, SloRecord, SloTargetRecord
from pipelines.report.figures import draw
from pipelines.report.figures.scales import Log, log_domain, log_ticks, tick_label
from pipelines.report.sentences import sentence

# Dash patterns of blocks, repeated when there are more.
BLOCK_STYLES = 4
LABEL_WIDTH = 190


def rates_plot(slo: SloRecord, name: str, slots: dict[str, int]) -> str | None:
    """Draw the curve as SVG text under the identifier `name`; return None without a measurement."""
    points = [point for target in slo.targets.values() for point in target.points]
    if not points:
        return None
    frame = draw.Frame(width=640, height=370, left=64, right=626, top=32, bottom=316)
    x, y = _scales(slo, points, frame)
    title = f"p99 against rate, limit {given_ms(slo.p99_limit_ms)}"
    svg = draw.figure(title, _description(slo), name, frame)
    svg.set("class", "rates")
    _axes(svg, frame, x, y, slo.p99_limit_ms)
    for target, found in slo.targets.items():
        group = draw.add(svg, "g", class_=f"s{slots[target]}")
        for block in dict.fromkeys(point.block for point in found.points):
            _search(group, target, slots[target], [p for p in found.points if p.block == block], x, y)
    _sustained(svg, slo, x, frame, slots)
    return draw.to_text(svg)


def _scales(slo: SloRecord, points: list[RatePointRecord], frame: draw.Frame) -> tuple[Log, Log]:
    rates = log_domain([point.rate_per_s for point in points], margin=1.15)
    latencies = [point.p99_ms for point in points if point.p99_ms is not None]
    # Room at the bottom for the rates that were found.
    low, high = log_domain([*latencies, slo.p99_limit_ms], margin=1.3)
    room = 4.0
    return Log(*rates, frame.left, frame.right), Log(low / room, high, frame.bottom, frame.top)


def _description(slo: SloRecord) -> str:
    said = [f"{target} {_known(found)}" for target, found in slo.targets.items()]
    return f"p99 over offered rate, both logarithmic. Highest rate within the limit: {', '.join(said)}."


def _known(found: SloTargetRecord) -> str:
    if found.at_least_per_s is not None:
        return f"at least {rate(found.at_least_per_s)}"
    return "none" if found.rate_per_s is None else rate(found.rate_per_s)


def _axes(svg: draw.Element, frame: draw.Frame, x: Log, y: Log, limit_ms: float) -> None:
    for ticks, scale, draw_axis, label in (
        (log_ticks(x.low, x.high), x, draw.x_axis, "offered rate, requests per second (logarithmic)"),
        (log_ticks(y.low, y.high), y, draw.y_axis, "p99, ms (logarithmic)"),
    ):
        draw_axis(svg, frame, draw.ticks_at(ticks, scale, list(map(tick_label, ticks))), label)
    draw.line(svg, (frame.left, y(limit_ms)), (frame.right, y(limit_ms)), "limit")
    text = f"limit {given_ms(limit_ms)}"
    draw.add(svg, "text", text=text, x=frame.left + 8, y=y(limit_ms) - 7, class_="value")


def _search(
    group: draw.Element, target: str, slot: int, points: list[RatePointRecord], x: Log, y: Log
) -> None:
    """Draw one block's search: the points that count joined in order of rate, then every point."""
    ordered = sorted(points, key=lambda point: (point.rate_per_s, point.round_index))
    known = [point for point in ordered if _counts(point)]
    style = f"search b{points[0].block % BLOCK_STYLES}"
    for before, after in itertools.pairwise(known):
        draw.line(group, _at(before, x, y), _at(after, x, y), style)
    for point in ordered:
        _point(group, target, slot, point, _at(point, x, y))


def _counts(point: RatePointRecord) -> bool:
    """Return whether the search goes by it: not by the load that warms a server, nor by what says nothing."""
    return point.met is not None and point.phase != "condition"


def _at(point: RatePointRecord, x: Log, y: Log) -> draw.Point:
    """Return its position; without a p99 the upper edge: nothing was answered in time."""
    return x(point.rate_per_s), y.end if point.p99_ms is None else y(point.p99_ms)


def _point(group: draw.Element, target: str, slot: int, point: RatePointRecord, at: draw.Point) -> None:
    own = draw.add(group, "g", class_="round" if _counts(point) else "round unused")
    draw.add(own, "title", text=_hover(target, point))
    if point.phase == "confirm":
        draw.add(own, "circle", cx=at[0], cy=at[1], r=8, class_="ring")
    draw.marker(own, slot, at, 4.5, "mark hollow" if point.met is False else "mark")
    if not _counts(point):
        draw.cross(own, at)


def _hover(target: str, point: RatePointRecord) -> str:
    said = {True: "limit kept", False: "limit not kept", None: "not used"}[point.met]
    p99 = "no p99" if point.p99_ms is None else f"p99 {milliseconds(point.p99_ms)}"
    errors = f"errors {percent(point.errors_share)}"
    parts = [f"{target}, block {point.block}, {point.phase}", rate(point.rate_per_s), p99, errors, said]
    return ", ".join([*parts, *map(sentence, point.reasons)])


def _label_place(left: float, right: float, middle: float, y: float, frame: draw.Frame) -> dict[str, Any]:
    """Place the label behind the interval from `left` to `right`, else before it, else above its `middle`."""
    if right + LABEL_WIDTH < frame.right:
        return {"x": right + 10, "y": y + 4, "text_anchor": "start"}
    if left - LABEL_WIDTH > frame.left:
        return {"x": left - 10, "y": y + 4, "text_anchor": "end"}
    fits = middle + LABEL_WIDTH < frame.right
    return {"x": middle + (8 if fits else -8), "y": y - 6, "text_anchor": "start" if fits else "end"}


def _sustained(svg: draw.Element, slo: SloRecord, x: Log, frame: draw.Frame, slots: dict[str, int]) -> None:
    """Draw the highest rates and intervals, just above the axis; a bound is open to the right."""
    found = {
        name: value for name, one in slo.targets.items() if (value := one.rate_per_s or one.at_least_per_s)
    }
    for place, (target, value) in enumerate(found.items()):
        one, y = slo.targets[target], frame.bottom - 12 - 20 * place
        group = draw.add(svg, "g", class_=f"s{slots[target]} sustained")
        text = f"{target} {'at least ' if one.at_least_per_s else ''}{rate(value)}"
        ranged = f", 95 % interval {span(one.interval, rate)}" if one.interval else ""
        draw.add(group, "title", text=f"{text}{ranged}")
        ends = _drawn_ends(group, one, x, y, frame)
        draw.marker(group, slots[target], (x(value), y), 4.5)
        left, right = ends or (x(value), x(value))
        draw.add(group, "text", text=text, **_label_place(left, right, x(value), y, frame))


def _drawn_ends(
    group: draw.Element, one: SloTargetRecord, x: Log, y: float, frame: draw.Frame
) -> draw.Point | None:
    """Draw how far the rate may lie from its mark; return where that begins and ends, None without it."""
    if one.at_least_per_s is not None:
        draw.line(group, (x(one.at_least_per_s), y), (frame.right, y), "span")
        return x(one.at_least_per_s), frame.right
    if one.interval is None:
        return None
    left, right = (x(end) for end in one.interval)
    for end in (left, right):
        draw.line(group, (end, y - 5), (end, y + 5), "span")
    draw.line(group, (left, y), (right, y), "span")
    return left, right

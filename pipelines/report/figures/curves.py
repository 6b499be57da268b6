"""Throughput of fresh servers, second by second of their first load: how long until they are steady."""

import itertools

from pipelines.console.format import count, significant
from pipelines.record.conditioning import ConditioningRecord
from pipelines.report.figures import draw
from pipelines.report.figures.scales import Linear, Log, linear_ticks, log_domain, log_ticks, tick_label

BLOCK_STYLES = 4
Curves = dict[str, tuple[ConditioningRecord, ...]]


def curves_plot(curves: Curves, name: str, slots: dict[str, int]) -> str | None:
    """Draw one line per server start, by target, as SVG text; return None without one.

    A mark stands where the steady stretch began. `name` is an identifier that no other figure has.
    """
    drawable = {target: tuple(filter(_drawable, conditionings)) for target, conditionings in curves.items()}
    every = [conditioning for conditionings in drawable.values() for conditioning in conditionings]
    if not every:
        return None
    frame = draw.Frame(width=640, height=330, left=60, right=626)
    x = Linear(0, max(len(conditioning.seconds) for conditioning in every) + 0.5, frame.left, frame.right)
    rates = [
        float(second.requests_count)
        for conditioning in every
        for second in conditioning.seconds
        if second.requests_count
    ]
    y = Log(*log_domain(rates), frame.bottom, frame.top)
    svg = draw.figure("Throughput of fresh servers", _description(drawable), name, frame)
    _axes(svg, frame, x, y)
    for target, conditionings in drawable.items():
        for conditioning in conditionings:
            _curve(svg, target, slots[target], conditioning, x, y)
    return draw.to_text(svg)


def _drawable(conditioning: ConditioningRecord) -> bool:
    return any(second.requests_count for second in conditioning.seconds)


def _description(drawable: Curves) -> str:
    clauses = [
        f"{target} in block {conditioning.block} {_until(conditioning)}"
        for target, conditionings in drawable.items()
        for conditioning in conditionings
    ]
    return f"Requests per second over seconds of load, logarithmic. {'; '.join(clauses)}."


def _until(conditioning: ConditioningRecord) -> str:
    if conditioning.until_steady_s is None and conditioning.state == "steady":
        return "steady, from a start that was not seen"
    if conditioning.until_steady_s is None:
        return f"not steady within {significant(conditioning.duration_s)} s"
    return f"steady from second {conditioning.until_steady_s:g}"


def _axes(svg: draw.Element, frame: draw.Frame, x: Linear, y: Log) -> None:
    ticks = log_ticks(y.low, y.high)
    draw.y_axis(svg, frame, draw.ticks_at(ticks, y, list(map(tick_label, ticks))), "requests/s (logarithmic)")
    seconds = linear_ticks(x.low, x.high, 8)
    draw.x_axis(svg, frame, draw.ticks_at(seconds, x, list(map(tick_label, seconds))), "seconds of load")


def _curve(
    svg: draw.Element, target: str, slot: int, conditioning: ConditioningRecord, x: Linear, y: Log
) -> None:
    points = [
        (x(second), y(float(figures.requests_count)))
        for second, figures in enumerate(conditioning.seconds, start=1)
        if figures.requests_count
    ]
    group = draw.add(svg, "g", class_=f"round s{slot}")
    requests = f"{count(conditioning.requests_count)} requests"
    hover = f"{target}, block {conditioning.block}: {_until(conditioning)}, {requests}"
    draw.add(group, "title", text=hover)
    for before, after in itertools.pairwise(points):
        draw.line(group, before, after, f"search b{conditioning.block % BLOCK_STYLES}")
    if conditioning.until_steady_s is not None:
        draw.marker(group, slot, points[min(int(conditioning.until_steady_s), len(points) - 1)], 4.5)

"""Fresh servers, second by second of their first load: throughput, p50 and CPU, until they are steady."""

from collections.abc import Callable
from dataclasses import dataclass

from pipelines.console.format import count, significant
from pipelines.judge.warming import cpu_ms_per_request, steady_second
from pipelines.record.conditioning import ConditioningRecord, SecondRecord
from pipelines.report.figures import draw
from pipelines.report.figures.scales import Linear, Log, linear_ticks, log_domain, log_ticks, tick_label

BLOCK_STYLES = 4
WIDTH, LEFT, RIGHT, TOP = 640.0, 60.0, 626.0, 32.0
# From the end of a panel to the start of the next, with its label; below the last the axis of time.
GAP, BELOW = 44.0, 54.0
Curves = dict[str, tuple[ConditioningRecord, ...]]
Curve = list[tuple[int, float]]
"""Seconds, from 1, with what is known of each."""


@dataclass(frozen=True)
class Quantity:
    """What a panel shows of a second; nothing below or at 0, as the axes are logarithmic."""

    label: str
    of: Callable[[SecondRecord], float | None]
    height: float
    ticks: int

    def curve(self, conditioning: ConditioningRecord) -> Curve:
        """Return the seconds in which it is known."""
        numbered = enumerate(map(self.of, conditioning.seconds), start=1)
        return [(second, value) for second, value in numbered if value]


QUANTITIES = (
    Quantity("requests/s (logarithmic)", lambda second: float(second.requests_count), 200, 9),
    Quantity("p50, ms (logarithmic)", lambda second: second.p50_ms, 96, 5),
    Quantity("server CPU per request, ms (logarithmic)", cpu_ms_per_request, 96, 5),
)


@dataclass(frozen=True)
class Panel:
    """A quantity with its place in the figure."""

    quantity: Quantity
    y: Log


def curves_plot(curves: Curves, name: str, slots: dict[str, int]) -> str | None:
    """Draw one line per server start and quantity, by target, as SVG text; return None without one.

    A mark stands where the steady stretch began. `name` is an identifier that no other figure has.
    """
    drawable = {target: tuple(filter(_drawable, conditionings)) for target, conditionings in curves.items()}
    every = [conditioning for conditionings in drawable.values() for conditioning in conditionings]
    if not every:
        return None
    panels = _panels(every)
    frame = draw.Frame(WIDTH, panels[-1].y.start + BELOW, LEFT, RIGHT, TOP, panels[-1].y.start)
    x = Linear(0, max(len(conditioning.seconds) for conditioning in every) + 0.5, LEFT, RIGHT)
    svg = draw.figure("Fresh servers over their first seconds", _description(drawable), name, frame)
    svg.set("class", "curves")
    _axes(svg, frame, x, panels)
    for target, conditionings in drawable.items():
        for conditioning in conditionings:
            _curves(svg, target, slots[target], conditioning, x, panels)
    return draw.to_text(svg)


def _drawable(conditioning: ConditioningRecord) -> bool:
    return any(second.requests_count for second in conditioning.seconds)


def _panels(every: list[ConditioningRecord]) -> list[Panel]:
    """Place one panel below the other for each quantity of which something is known."""
    panels, top = [], TOP
    for quantity in QUANTITIES:
        values = [value for conditioning in every for _, value in quantity.curve(conditioning)]
        if values:
            panels.append(Panel(quantity, Log(*log_domain(values), top + quantity.height, top)))
            top += quantity.height + GAP
    return panels


def _description(drawable: Curves) -> str:
    clauses = [
        f"{target} in block {conditioning.block} {_until(conditioning)}"
        for target, conditionings in drawable.items()
        for conditioning in conditionings
    ]
    return (
        "Requests per second, p50 and the server's CPU time per request over seconds of load, all "
        f"logarithmic. {'; '.join(clauses)}."
    )


def _until(conditioning: ConditioningRecord) -> str:
    if conditioning.until_steady_s is None and conditioning.state == "steady":
        return "steady, from a start that was not seen"
    if conditioning.until_steady_s is None:
        return f"not steady within {significant(conditioning.duration_s)} s"
    return f"steady from second {conditioning.until_steady_s:g}"


def _axes(svg: draw.Element, frame: draw.Frame, x: Linear, panels: list[Panel]) -> None:
    seconds = draw.ticks_at(ticks := linear_ticks(x.low, x.high, 8), x, list(map(tick_label, ticks)))
    for panel in panels:
        y, values = panel.y, log_ticks(panel.y.low, panel.y.high, panel.quantity.ticks)
        for at, text in draw.ticks_at(values, y, list(map(tick_label, values))):
            draw.line(svg, (LEFT - 4, at), (RIGHT, at), "grid")
            draw.add(svg, "text", text=text, x=LEFT - 8, y=at + 4, text_anchor="end")
        for at, _ in seconds:
            draw.line(svg, (at, y.end), (at, y.start), "grid")
        draw.add(svg, "text", text=panel.quantity.label, x=2, y=y.end - 16, class_="label")
    draw.x_axis(svg, frame, seconds, "seconds of load", grid=False)


def _curves(
    svg: draw.Element,
    target: str,
    slot: int,
    conditioning: ConditioningRecord,
    x: Linear,
    panels: list[Panel],
) -> None:
    group = draw.add(svg, "g", class_=f"round s{slot}")
    requests = f"{count(conditioning.requests_count)} requests"
    hover = f"{target}, block {conditioning.block}: {_until(conditioning)}, {requests}"
    draw.add(group, "title", text=hover)
    style = f"search thick b{conditioning.block % BLOCK_STYLES}"
    for panel in panels:
        curve = panel.quantity.curve(conditioning)
        corners = "L".join(f"{x(second):.1f} {panel.y(value):.1f}" for second, value in curve)
        if len(curve) > 1:
            draw.add(group, "path", d=f"M{corners}", class_=style)
        steady = _steady_at(conditioning, curve)
        if steady is not None:
            draw.marker(group, slot, (x(steady[0]), panel.y(steady[1])), 4.5)


def _steady_at(conditioning: ConditioningRecord, curve: Curve) -> tuple[int, float] | None:
    """Return the first steady second, with the figure of it or of the next second that has one."""
    second = steady_second(conditioning)
    if second is None or not curve:
        return None
    return second, next((value for at, value in curve if at >= second), curve[-1][1])

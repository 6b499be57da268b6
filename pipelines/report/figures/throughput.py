"""Answered requests per second: a bar per target and load, with the range of single rounds."""

from pipelines.console.format import MISSING, rate, shortened_to
from pipelines.record.target import SummaryRecord
from pipelines.report import pick
from pipelines.report.figures import draw
from pipelines.report.figures.scales import Linear, linear_ticks, tick_label

ROW, GAP = 24.0, 30.0
# Characters of a target's name that are shown, and the width of one.
NAME_CHARACTERS, CHARACTER = 27, 7.0
Loads = dict[str, dict[str, SummaryRecord | None]]


def throughput_plot(loads: Loads, name: str, slots: dict[str, int]) -> str | None:
    """Draw bars grouped by load as SVG text; return None when nothing has a throughput.

    `loads` maps a load to its targets' summaries. `name` is this figure's own identifier.
    """
    tops = [
        top
        for targets in loads.values()
        for summary in targets.values()
        if summary
        for top in _reach(summary)
    ]
    if not tops:
        return None
    height = sum(GAP + ROW * len(targets) for targets in loads.values())
    frame = draw.Frame(height=height + 60, left=_names_width(loads), right=430, top=8, bottom=height + 10)
    # The bars start at 0: their length is the figure.
    x = Linear(0, max(tops) or 1.0, frame.left, frame.right)
    svg = draw.figure(
        "Throughput", "Requests answered per second, with the range of single rounds.", name, frame
    )
    ticks = linear_ticks(0, x.high, 5)
    draw.x_axis(
        svg, frame, draw.ticks_at(ticks, x, list(map(tick_label, ticks))), "requests answered per second"
    )
    top = frame.top
    for load, targets in loads.items():
        draw.add(svg, "text", text=load, x=2, y=top + 17, class_="group")
        top += GAP
        for target, summary in targets.items():
            middle = top + ROW / 2
            group = _row(svg, target, slots[target], middle)
            if summary and summary.throughput_per_s is not None:
                _bar(group, f"{target}, {load}", summary, x, middle)
            else:
                _no_bar(group, f"{target}, {load}", x, middle)
            top += ROW
    return draw.to_text(svg)


def _names_width(loads: Loads) -> float:
    longest = max(len(target) for targets in loads.values() for target in targets)
    return 30 + CHARACTER * min(longest, NAME_CHARACTERS)


def _reach(summary: SummaryRecord) -> list[float]:
    span = pick.round_range(summary, pick.THROUGHPUT)
    return [value for value in (summary.throughput_per_s, span[1] if span else None) if value is not None]


def _row(svg: draw.Element, target: str, slot: int, middle: float) -> draw.Element:
    """Add a group with the target's mark and its name, as much of it as fits."""
    group = draw.add(svg, "g", class_=f"s{slot}")
    draw.marker(group, slot, (10, middle), 4.5)
    draw.add(group, "text", text=shortened_to(target, NAME_CHARACTERS), x=20, y=middle + 4)
    return group


def _no_bar(group: draw.Element, label: str, x: Linear, middle: float) -> None:
    draw.add(group, "title", text=f"{label}: no valid round")
    draw.add(group, "text", text=f"{MISSING} no valid round", x=x.start + 8, y=middle + 4)


def _bar(group: draw.Element, label: str, summary: SummaryRecord, x: Linear, middle: float) -> None:
    value, span = summary.throughput_per_s or 0.0, pick.round_range(summary, pick.THROUGHPUT)
    ranged = f", single rounds {rate(span[0])} to {rate(span[1])}" if span else ""
    draw.add(group, "title", text=f"{label}: {rate(value)}{ranged}")
    length, thick = x(value) - x.start, ROW - 8
    draw.add(group, "rect", x=x.start, y=middle - thick / 2, width=length, height=thick, class_="bar")
    if span:
        _whisker(group, x(span[0]), x(span[1]), middle)
    end = max(x(value), x(span[1]) if span else 0) + 8
    draw.add(group, "text", text=rate(value), x=end, y=middle + 4, class_="value")


def _whisker(group: draw.Element, low: float, high: float, y: float) -> None:
    draw.line(group, (low, y), (high, y), "whisker")
    for end in (low, high):
        draw.line(group, (end, y - 4), (end, y + 4), "whisker")

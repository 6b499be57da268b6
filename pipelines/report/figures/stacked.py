"""Where the time of a request goes: one bar per side and load, a stretch for each part, against p50."""

from pipelines.console.format import milliseconds, shortened_to
from pipelines.record.time_split import TimeSplitRecord
from pipelines.report.figures import draw
from pipelines.report.figures.scales import Linear, linear_ticks, tick_label

ROW, GAP = 26.0, 28.0
NAME_CHARACTERS, CHARACTER = 27, 7.0
# The look of each part, the same in every report; decode and encode together look like decode.
LOOKS = {"transport": 5, "frontend": 4, "queue": 1, "decode": 2, "inference": 0, "encode": 3, "codec": 2}
TITLES = {"codec": "decode + encode"}
LEGEND_WIDTH = 122.0
Splits = dict[str, dict[str, TimeSplitRecord | None]]


def time_plot(loads: Splits, name: str) -> str | None:
    """Draw bars by load as SVG text under the identifier `name`; return None when no side tells anything."""
    splits = [split for own in loads.values() for split in own.values() if split]
    if not splits:
        return None
    bars = sum(GAP + ROW * len(own) for own in loads.values())
    longest = max(len(side) for own in loads.values() for side in own)
    left = 20 + CHARACTER * min(longest, NAME_CHARACTERS)
    frame = draw.Frame(height=bars + 108, left=left, top=8, bottom=bars + 10)
    x = Linear(
        0, max(max(split.p50_ms, sum(split.parts_ms.values())) for split in splits), frame.left, frame.right
    )
    svg = draw.figure("Where the time goes", "Mean time of a request by part, and p50.", name, frame)
    ticks = linear_ticks(0, x.high, 5)
    draw.x_axis(svg, frame, draw.ticks_at(ticks, x, list(map(tick_label, ticks))), "ms; line: measured p50")
    top = frame.top
    for load, own in loads.items():
        draw.add(svg, "text", text=load, x=2, y=top + 17, class_="group")
        top += GAP
        for side, split in own.items():
            draw.add(svg, "text", text=shortened_to(side, NAME_CHARACTERS), x=10, y=top + ROW / 2 + 4)
            _bar(svg, f"{side}, {load}", split, x, top)
            top += ROW
    _legend(svg, splits, frame.bottom + 68)
    return draw.to_text(svg)


def _bar(svg: draw.Element, label: str, split: TimeSplitRecord | None, x: Linear, top: float) -> None:
    middle, thick = top + ROW / 2, ROW - 8
    if split is None:
        draw.add(svg, "text", text="the server tells nothing", x=x.start + 8, y=middle + 4)
        return
    at = 0.0
    for part, value in split.parts_ms.items():
        group = draw.add(svg, "g", class_=f"s{LOOKS[part]}")
        draw.add(group, "title", text=f"{label}: {TITLES.get(part, part)} {milliseconds(value)}")
        width = x(at + value) - x(at)
        draw.add(group, "rect", x=x(at), y=middle - thick / 2, width=width, height=thick, class_="bar")
        at += value
    group = draw.add(svg, "g")
    hover = f"p50 {milliseconds(split.p50_ms)}, {split.unexplained_share:.0%} of it in no part"
    draw.add(group, "title", text=f"{label}: {hover}")
    draw.line(group, (x(at), middle), (x(split.p50_ms), middle), "whisker")
    draw.line(group, (x(split.p50_ms), top + 1), (x(split.p50_ms), top + ROW - 1), "whisker")


def _legend(svg: draw.Element, splits: list[TimeSplitRecord], y: float) -> None:
    parts = [part for part in LOOKS if any(part in split.parts_ms for split in splits)]
    for number, part in enumerate(parts):
        x, line_y = 4 + LEGEND_WIDTH * (number % 4), y + 18 * (number // 4)
        group = draw.add(svg, "g", class_=f"s{LOOKS[part]}")
        draw.add(group, "rect", x=x, y=line_y - 9, width=12, height=10, class_="bar")
        draw.add(group, "text", text=TITLES.get(part, part), x=x + 17, y=line_y)

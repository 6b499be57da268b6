"""Latency and throughput over the whole run: drift within and between rounds, pauses, what was not used."""

from collections.abc import Collection, Sequence
from datetime import datetime

from pipelines.console.format import milliseconds, one_line, rate, significant
from pipelines.judge.timeline import Point, points_of
from pipelines.record.rounds import RoundRecord
from pipelines.report.figures import draw
from pipelines.report.figures.scales import Linear, Log, linear_ticks, log_domain, log_ticks, tick_label
from pipelines.report.measured import validity

FRAME = draw.Frame(width=1040, height=430, left=60, right=1026, top=32, bottom=376)
# Both panels, from top to bottom.
LATENCY, RATE = (32.0, 196.0), (246.0, 376.0)
SECONDS_A_MINUTE = 60.0
MINUTES_FROM_S = 180.0


def timeline_plot(
    rounds: Sequence[RoundRecord], name: str, slots: dict[str, int], unused: Collection[int], title: str
) -> str | None:
    """Draw the plot as SVG text under the identifier `name`; return None when no round has a figure.

    Args:
        rounds: those of compared targets, in the order measured.
        unused: indexes of rounds that feed no figure.
    """
    began = min((_second(record) for record in rounds), default=0.0)
    series = [(record, points_of(record, _second(record) - began)) for record in rounds]
    every = [point for _, own in series for point in own]
    latencies = [ms for point in every for ms in (point.p50_ms, point.max_ms) if ms]
    rates = [point.per_s for point in every if point.per_s is not None]
    if not latencies or not rates:
        return None
    x = Linear(0, max(point.at_s for point in every) * 1.01 or 1.0, FRAME.left, FRAME.right)
    y = Log(*log_domain(latencies), LATENCY[1], LATENCY[0])
    per_s = Linear(0, max(rates) * 1.05 or 1.0, RATE[1], RATE[0])
    svg = draw.figure(title, _description(series, unused), name, FRAME)
    svg.set("class", "timeline")
    _axes(svg, x, y, per_s)
    _blocks(svg, series, x)
    for record, own in series:
        _round(svg, record, own, slots[record.target], (x, y, per_s), spoilt=record.index in unused)
    return draw.to_text(svg)


def _second(record: RoundRecord) -> float:
    """Return when the window began: a round starts with its warm-up."""
    return datetime.fromisoformat(record.started_at_utc).timestamp() + record.warmup_s


def _description(series: list[tuple[RoundRecord, list[Point]]], unused: Collection[int]) -> str:
    spoilt = sum(record.index in unused for record, _ in series)
    return (
        "Above latency in milliseconds, logarithmic, below requests answered per second, over the time of "
        f"the run; {len(series)} rounds, {spoilt} of them not used and shaded."
    )


def _axes(svg: draw.Element, x: Linear, y: Log, per_s: Linear) -> None:
    upper = draw.Frame(FRAME.width, FRAME.height, FRAME.left, FRAME.right, LATENCY[0], LATENCY[1])
    ticks = log_ticks(y.low, y.high, 6)
    label = "latency, ms (logarithmic): line p50, dots the slowest request"
    draw.y_axis(svg, upper, draw.ticks_at(ticks, y, list(map(tick_label, ticks))), label)
    rates = linear_ticks(0, per_s.high, 4)
    for at, text in draw.ticks_at(rates, per_s, list(map(tick_label, rates))):
        draw.line(svg, (FRAME.left - 4, at), (FRAME.right, at), "grid")
        draw.add(svg, "text", text=text, x=FRAME.left - 8, y=at + 4, text_anchor="end")
    draw.add(svg, "text", text="requests answered per second", x=2, y=RATE[0] - 19, class_="label")
    minutes = x.high >= MINUTES_FROM_S
    scale = SECONDS_A_MINUTE if minutes else 1.0
    times = [value * scale for value in linear_ticks(0, x.high / scale, 8)]
    labels = [tick_label(value / scale) for value in times]
    unit = "minutes" if minutes else "seconds"
    draw.x_axis(
        svg, FRAME, draw.ticks_at(times, x, labels), f"{unit} since the first round began", grid=False
    )


def _blocks(svg: draw.Element, series: list[tuple[RoundRecord, list[Point]]], x: Linear) -> None:
    """Draw a line where a new block, and with it fresh servers, began."""
    begun: set[int] = set()
    for record, own in series:
        if record.block not in begun and begun and own:
            at = x(max(0.0, own[0].at_s))
            draw.line(svg, (at, LATENCY[0]), (at, RATE[1]), "block")
        begun.add(record.block)


def _round(
    svg: draw.Element,
    record: RoundRecord,
    own: list[Point],
    slot: int,
    scales: tuple[Linear, Log, Linear],
    *,
    spoilt: bool,
) -> None:
    x, y, per_s = scales
    group = draw.add(svg, "g", class_=f"round s{slot}{' unused' if spoilt else ''}")
    draw.add(group, "title", text=_hover(record, used=not spoilt))
    if spoilt:
        half = (own[1].at_s - own[0].at_s) / 2 if len(own) > 1 else record.window_s / 2
        left, right = x(max(0.0, own[0].at_s - half)), x(own[-1].at_s + half)
        width = max(2.0, right - left)
        draw.add(
            group, "rect", x=left, y=LATENCY[0], width=width, height=RATE[1] - LATENCY[0], class_="spoilt"
        )
    medians = [(x(p.at_s), y(p.p50_ms)) for p in own if p.p50_ms]
    slowest = [(x(p.at_s), y(p.max_ms)) for p in own if p.max_ms]
    rates = [(x(p.at_s), per_s(p.per_s)) for p in own if p.per_s is not None]
    for line in (medians, rates):
        _path(group, line)
    if slowest:
        dots = "".join(f"M{at[0]:.1f} {at[1]:.1f}h0" for at in slowest)
        draw.add(group, "path", d=dots, class_="dots")
    for at in (*(medians[:1]), *(rates[:1])):
        draw.marker(group, slot, at, 3)


def _path(group: draw.Element, line: list[draw.Point]) -> None:
    if len(line) > 1:
        draw.add(
            group, "path", d="M" + "L".join(f"{at[0]:.1f} {at[1]:.1f}" for at in line), class_="search thick"
        )


def _hover(record: RoundRecord, *, used: bool) -> str:
    p50, throughput = record.latency_ms.p50, record.throughput_per_s
    figures = [
        *([f"p50 {milliseconds(p50)}"] if p50 is not None else []),
        *([rate(throughput)] if throughput is not None else []),
        f"{significant(record.window_s)} s",
        validity(record, used=used),
    ]
    return one_line(
        f"{record.target}, {record.load}, block {record.block}, round {record.index}: {', '.join(figures)}"
    )

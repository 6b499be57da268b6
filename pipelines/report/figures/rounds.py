"""Every round's p50 and p99 in the order measured, so that scatter and drift are seen."""

import itertools
from collections.abc import Collection

from pipelines.console.format import significant
from pipelines.record.rounds import RoundRecord
from pipelines.report.figures import draw
from pipelines.report.figures.scales import Linear, Log, log_domain, log_ticks, tick_label
from pipelines.report.measured import validity

MOST_LABELS = 12


def rounds_plot(
    load: str, name: str, rounds: list[RoundRecord], slots: dict[str, int], faint: Collection[str] = ()
) -> str | None:
    """Draw the plot of one load as SVG text; return None when there are no rounds.

    `rounds` are in the order measured. `name` is an identifier that no other figure of the page has. Targets
    in `faint` are drawn small and pale: they are not compared.
    """
    if not rounds:
        return None
    frame = draw.Frame()
    x = Linear(0.3, len(rounds) + 0.7, frame.left, frame.right)
    low, high = log_domain([value for record in rounds for value in _values(record)])
    y = Log(low, high, frame.bottom, frame.top)
    title = f"p50 and p99 of every round under {load}"
    svg = draw.figure(title, _description(rounds), name, frame)
    _axes(svg, frame, x, y, rounds)
    for place, record in enumerate(rounds, start=1):
        _round(svg, record, slots[record.target], x(place), y, faint=record.target in faint)
    return draw.to_text(svg)


def _values(record: RoundRecord) -> list[float]:
    return [value for value in (record.latency_ms.p50, record.latency_ms.p99) if value is not None]


def _description(rounds: list[RoundRecord]) -> str:
    unused = sum(not record.valid for record in rounds)
    return f"{len(rounds)} rounds, {unused} of them not used and crossed out; milliseconds, logarithmic."


def _axes(svg: draw.Element, frame: draw.Frame, x: Linear, y: Log, rounds: list[RoundRecord]) -> None:
    ticks = log_ticks(y.low, y.high)
    draw.y_axis(
        svg, frame, draw.ticks_at(ticks, y, list(map(tick_label, ticks))), "latency, ms (logarithmic)"
    )
    every = -(-len(rounds) // MOST_LABELS)
    places = [float(place) for place in range(1, len(rounds) + 1, every)]
    labels = [str(record.index) for record in rounds[::every]]
    draw.x_axis(svg, frame, draw.ticks_at(places, x, labels), "round, in the order measured", grid=False)
    _blocks(svg, frame, x, rounds)


def _blocks(svg: draw.Element, frame: draw.Frame, x: Linear, rounds: list[RoundRecord]) -> None:
    """Draw a line where a new block, and with it a fresh server, begins."""
    for place, (before, after) in enumerate(itertools.pairwise(rounds), start=1):
        if before.block != after.block:
            border = x(place + 0.5)
            draw.line(svg, (border, frame.top), (border, frame.bottom), "block")


def _round(svg: draw.Element, record: RoundRecord, slot: int, x: float, y: Log, *, faint: bool) -> None:
    group = draw.add(svg, "g", class_=_classes(record, faint=faint))
    draw.add(group, "title", text=_hover(record))
    if record.attempt:
        # Tries of one round stand side by side: only the number fits; the key beside the plot explains it.
        text = str(record.attempt + 1)
        draw.add(group, "text", text=text, x=x, y=y.end - 5, text_anchor="middle", class_="retry")
    values = _values(record)
    if len(values) > 1:
        draw.line(group, (x, y(values[0])), (x, y(values[1])), f"stick s{slot}")
    for which, kind in (("p50", "mark"), ("p99", "mark hollow")):
        value = getattr(record.latency_ms, which)
        if value is not None:
            draw.marker(group, slot, (x, y(value)), 3 if faint else 4.5, kind)
    if not record.valid:
        for position in [y(value) for value in values] or [y.start - 8]:
            draw.cross(group, (x, position))


def _classes(record: RoundRecord, *, faint: bool) -> str:
    return " ".join(["round", *(["faint"] if faint else []), *([] if record.valid else ["unused"])])


def _hover(record: RoundRecord) -> str:
    figures = [
        f"{which} {significant(value)} ms"
        for which, value in (("p50", record.latency_ms.p50), ("p99", record.latency_ms.p99))
        if value is not None
    ]
    again = f", try {record.attempt + 1}" if record.attempt else ""
    place = f"{record.target}, block {record.block}, round {record.index}{again}"
    return f"{place}: {', '.join([*figures, validity(record)])}"

"""The share of requests at or below each latency, all targets of a load in one plot."""

import json

from pipelines.console.format import significant
from pipelines.record.target import EcdfRecord, SummaryRecord
from pipelines.report.figures import draw
from pipelines.report.figures.scales import Linear, Log, log_domain, log_ticks, tick_label

SHARES = (0.0, 0.25, 0.5, 0.75, 0.9, 0.99)
MARKED = {"p50": 0.5, "p99": 0.99}


def ecdf_plot(load: str, name: str, summaries: dict[str, SummaryRecord], slots: dict[str, int]) -> str | None:
    """Draw the plot of one load as SVG text; return None when no target has a distribution.

    `name` is an identifier that no other figure of the page has.
    """
    curves = {
        target: summary.ecdf
        for target, summary in summaries.items()
        if summary.ecdf and summary.ecdf.latency_ms
    }
    if not curves:
        return None
    frame = draw.Frame()
    low, high = log_domain([value for curve in curves.values() for value in curve.latency_ms])
    x, y = Log(low, high, frame.left, frame.right), Linear(0, 1, frame.bottom, frame.top)
    title = f"Distribution of latency under {load}"
    svg = draw.figure(title, _description(curves), name, frame)
    svg.set("data-ecdf", _readout(curves, x))
    _axes(svg, frame, x, y)
    for target, curve in curves.items():
        draw.add(svg, "path", d=_steps(curve, x, y), class_=f"curve s{slots[target]}")
    for target in curves:
        for latency, share, text in _marks(target, summaries[target]):
            mark = draw.marker(svg, slots[target], (x(latency), y(share)), 5)
            draw.add(mark, "title", text=text)
    draw.line(svg, (0, frame.top), (0, frame.bottom), "cross")
    return draw.to_text(svg)


def _description(curves: dict[str, EcdfRecord]) -> str:
    names = ", ".join(curves)
    return f"Cumulative share of requests over latency in milliseconds, logarithmic, for {names}."


def _axes(svg: draw.Element, frame: draw.Frame, x: Log, y: Linear) -> None:
    ticks = log_ticks(x.low, x.high)
    draw.x_axis(
        svg, frame, draw.ticks_at(ticks, x, list(map(tick_label, ticks))), "latency, ms (logarithmic)"
    )
    labels = [f"{share * 100:g} %" for share in SHARES]
    draw.y_axis(svg, frame, draw.ticks_at(list(SHARES), y, labels), "share of requests at or below")


def _steps(curve: EcdfRecord, x: Log, y: Linear) -> str:
    points = zip(curve.latency_ms, curve.share, strict=True)
    moves = [f"H{x(latency):.1f}V{y(share):.1f}" for latency, share in points]
    return f"M{x(curve.latency_ms[0]):.1f} {y(0):.1f}" + "".join(moves)


def _marks(target: str, summary: SummaryRecord) -> list[tuple[float, float, str]]:
    """Return latency, share and hover text of each percentile that is marked and was measured."""
    percentiles = [(which, share, getattr(summary.latency_ms, which)) for which, share in MARKED.items()]
    return [
        (latency, share, f"{target} {which} {significant(latency)} ms")
        for which, share, latency in percentiles
        if latency is not None
    ]


def _readout(curves: dict[str, EcdfRecord], x: Log) -> str:
    """Return what the hover script needs: the scale and each curve, four significant digits."""
    series = [
        {
            "name": target,
            "ms": [_short(v) for v in curve.latency_ms],
            "share": [_short(v) for v in curve.share],
        }
        for target, curve in curves.items()
    ]
    data = {"low": x.low, "high": x.high, "start": x.start, "end": x.end, "series": series}
    return json.dumps(data, separators=(",", ":"))


def _short(value: float) -> float:
    return float(f"{value:.4g}")

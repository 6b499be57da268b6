"""Loss over epochs, every training of both frameworks in one figure."""

import itertools
from collections.abc import Sequence

from pipelines.console.format import significant
from pipelines.record.training import OneTrainingRecord
from pipelines.report.figures import draw
from pipelines.report.figures.scales import Linear, Log, linear_ticks, log_domain, log_ticks, tick_label

DASHED = "search b1"
FRAME = draw.Frame(width=640, height=370, left=58, right=626, top=32, bottom=316)


def losses_plot(trainings: Sequence[OneTrainingRecord], name: str, slots: dict[str, int]) -> str | None:
    """Draw the losses, logarithmic, as SVG text; return None where no epoch has a loss above 0."""
    shown = [one for one in trainings if any(epoch.loss > 0 for epoch in one.epochs)]
    if not shown:
        return None
    losses = [epoch.loss for one in shown for epoch in one.epochs if epoch.loss > 0]
    x = Linear(0, max(len(one.epochs) for one in shown) + 0.5, FRAME.left, FRAME.right)
    y = Log(*log_domain(losses), FRAME.bottom, FRAME.top)
    svg = draw.figure("Loss over epochs", _description(shown), name, FRAME)
    ticks = log_ticks(y.low, y.high)
    draw.y_axis(svg, FRAME, draw.ticks_at(ticks, y, list(map(tick_label, ticks))), "mean loss (logarithmic)")
    epochs = [tick for tick in linear_ticks(x.low, x.high, 8) if tick == int(tick)]
    draw.x_axis(svg, FRAME, draw.ticks_at(epochs, x, list(map(tick_label, epochs))), "epoch")
    for one in shown:
        _curve(svg, one, slots[one.framework], x, y)
    return draw.to_text(svg)


def _description(shown: Sequence[OneTrainingRecord]) -> str:
    said = [
        f"{one.framework}, seed {one.seed}: from {significant(one.epochs[0].loss)} to "
        f"{significant(one.epochs[-1].loss)}"
        for one in shown
    ]
    return f"Mean loss of every epoch, logarithmic. {'; '.join(said)}."


def _curve(svg: draw.Element, one: OneTrainingRecord, slot: int, x: Linear, y: Log) -> None:
    points = [
        (x(number), y(epoch.loss)) for number, epoch in enumerate(one.epochs, start=1) if epoch.loss > 0
    ]
    unused = " unused" if one.role == "control" else ""
    group = draw.add(svg, "g", class_=f"round s{slot}{unused}")
    draw.add(group, "title", text=f"{one.framework}, seed {one.seed}: {significant(one.epochs[-1].loss)}")
    for before, after in itertools.pairwise(points):
        draw.line(group, before, after, DASHED if one.role == "control" else "search")
    if one.role == "compared":
        draw.marker(group, slot, points[-1], 4.5)

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
    drawn = [training for training in trainings if any(epoch.loss > 0 for epoch in training.epochs)]
    if not drawn:
        return None
    losses = [epoch.loss for training in drawn for epoch in training.epochs if epoch.loss > 0]
    x = Linear(0, max(len(training.epochs) for training in drawn) + 0.5, FRAME.left, FRAME.right)
    y = Log(*log_domain(losses), FRAME.bottom, FRAME.top)
    svg = draw.figure("Loss over epochs", _description(drawn), name, FRAME)
    ticks = log_ticks(y.low, y.high)
    draw.y_axis(svg, FRAME, draw.ticks_at(ticks, y, list(map(tick_label, ticks))), "mean loss (logarithmic)")
    epochs = [tick for tick in linear_ticks(x.low, x.high, 8) if tick == int(tick)]
    draw.x_axis(svg, FRAME, draw.ticks_at(epochs, x, list(map(tick_label, epochs))), "epoch")
    for training in drawn:
        _curve(svg, training, slots[training.framework], x, y)
    return draw.to_text(svg)


def _description(drawn: Sequence[OneTrainingRecord]) -> str:
    clauses = [
        f"{training.framework}, seed {training.seed}: from {significant(training.epochs[0].loss)} to "
        f"{significant(training.epochs[-1].loss)}"
        for training in drawn
    ]
    return f"Mean loss of every epoch, logarithmic. {'; '.join(clauses)}."


def _curve(svg: draw.Element, training: OneTrainingRecord, slot: int, x: Linear, y: Log) -> None:
    points = [
        (x(number), y(epoch.loss)) for number, epoch in enumerate(training.epochs, start=1) if epoch.loss > 0
    ]
    unused = " unused" if training.role == "control" else ""
    group = draw.add(svg, "g", class_=f"round s{slot}{unused}")
    draw.add(
        group,
        "title",
        text=f"{training.framework}, seed {training.seed}: {significant(training.epochs[-1].loss)}",
    )
    for before, after in itertools.pairwise(points):
        draw.line(group, before, after, DASHED if training.role == "control" else "search")
    if training.role == "compared":
        draw.marker(group, slot, points[-1], 4.5)

"""The highest rate against every axis of a search: one panel an axis, one bracket a configuration."""

import itertools

from pipelines.console.format import rate
from pipelines.record.tune import TuneAxisRecord, TuneSideRecord, TuneTrialRecord
from pipelines.report.figures import draw
from pipelines.report.figures.scales import Log, log_domain, log_ticks, tick_label

PANEL, GAP, LEFT, RIGHT = 210.0, 34.0, 64.0, 14.0
TOP, BOTTOM, HEIGHT = 46.0, 276.0, 330.0
# How far brackets of one level stand apart, at most.
SPREAD = 0.7


def surface_plot(side: TuneSideRecord, name: str, slot: int) -> str | None:
    """Draw the figure as SVG text under the identifier `name`; return None without a rate."""
    drawn = [trial for trial in side.trials if trial.levels and _known(trial)]
    axes = [
        axis for axis in side.axes if len({t.levels[axis.name] for t in drawn if axis.name in t.levels}) > 1
    ]
    if not drawn or not axes:
        return None
    width = LEFT + len(axes) * PANEL + (len(axes) - 1) * GAP + RIGHT
    frame = draw.Frame(width=width, height=HEIGHT, left=LEFT, right=width - RIGHT, top=TOP, bottom=BOTTOM)
    values = [value for trial in drawn for value in (trial.rate_per_s, trial.breaks_at_per_s) if value]
    y = Log(*log_domain(values, margin=1.1), BOTTOM, TOP)
    title = f"Highest rate of {side.target} by configuration"
    svg = draw.figure(title, _description(side, drawn), name, frame)
    svg.set("class", "rates")
    ticks = log_ticks(y.low, y.high)
    draw.y_axis(svg, frame, draw.ticks_at(ticks, y, list(map(tick_label, ticks))), "rate, 1/s (logarithmic)")
    for place, axis in enumerate(axes):
        left = LEFT + place * (PANEL + GAP)
        _panel(svg, side, axis, [t for t in drawn if axis.name in t.levels], left, y, slot)
    return draw.to_text(svg)


def _known(trial: TuneTrialRecord) -> bool:
    return trial.rate_per_s is not None or trial.breaks_at_per_s is not None


def _description(side: TuneSideRecord, drawn: list[TuneTrialRecord]) -> str:
    best = next((trial for trial in drawn if trial.number == side.winner), None)
    remark = f" The best sustains {rate(best.rate_per_s)}." if best and best.rate_per_s else ""
    return f"A panel for each axis, a bracket for each of {len(drawn)} configurations.{remark}"


def _panel(
    svg: draw.Element,
    side: TuneSideRecord,
    axis: TuneAxisRecord,
    trials: list[TuneTrialRecord],
    left: float,
    y: Log,
    slot: int,
) -> None:
    step = PANEL / len(axis.levels)
    middles = {level: left + (place + 0.5) * step for place, level in enumerate(axis.levels)}
    panel = draw.Frame(left=left, right=left + PANEL, top=TOP, bottom=BOTTOM)
    draw.x_axis(svg, panel, [(x, level) for level, x in middles.items()], axis.name, grid=False)
    group = draw.add(svg, "g", class_=f"s{slot}")
    best_at: list[draw.Point] = []
    for level, middle in middles.items():
        own = [trial for trial in trials if trial.levels[axis.name] == level]
        for place, trial in enumerate(own):
            shift = (place + 0.5) / len(own) - 0.5
            _bracket(group, side, trial, middle + shift * step * SPREAD, y, slot)
        rates = [trial.rate_per_s for trial in own if trial.rate_per_s]
        if rates:
            best_at.append((middle, y(max(rates))))
    for before, after in itertools.pairwise(best_at):
        draw.line(group, before, after, "search")


def _bracket(
    group: draw.Element, side: TuneSideRecord, trial: TuneTrialRecord, x: float, y: Log, slot: int
) -> None:
    """Draw from the highest rate that kept the limit to the lowest that did not, or the one known end."""
    own = draw.add(group, "g", class_="round")
    draw.add(own, "title", text=_hover(trial))
    low, high = trial.rate_per_s, trial.breaks_at_per_s
    if low and high:
        draw.line(own, (x, y(low)), (x, y(high)), "stick")
    if trial.number == side.winner and low:
        draw.add(own, "circle", cx=x, cy=y(low), r=8, class_="ring")
    if low:
        draw.marker(own, slot, (x, y(low)), 4.5)
    elif high:
        draw.marker(own, slot, (x, y(high)), 4.5, "mark hollow")


def _hover(trial: TuneTrialRecord) -> str:
    levels = ", ".join(f"{axis} {level}" for axis, level in trial.levels.items())
    kept = f"kept the limit at {rate(trial.rate_per_s)}" if trial.rate_per_s else "kept it at no rate tried"
    broke = f", broke it at {rate(trial.breaks_at_per_s)}" if trial.breaks_at_per_s else ""
    return f"trial {trial.number}: {levels}: {kept}{broke}"

"""Size against accuracy: a point per artifact, the Pareto front, the gate's limits, failures crossed out."""

import itertools

from pipelines.console.format import given_size, percent, points, size
from pipelines.record.mobile import MobileArtifactRecord, MobileRecord
from pipelines.report import mobile as said
from pipelines.report.figures import draw
from pipelines.report.figures.broken import BAND, Broken, broken
from pipelines.report.figures.labels import HEIGHT, Anchor, Box, Place, Space
from pipelines.report.figures.scales import Log, linear_ticks, log_domain, log_ticks

FRAME = draw.Frame(width=640, height=420, left=66, right=626, top=32, bottom=362)
# A limit on the size this many times beyond all sizes is named at the edge, not drawn.
NEAR = 3.0
# The label of a tick, in the larger text of a narrow screen.
TICK_WIDTH = 70.0
Measured = list[tuple[MobileArtifactRecord, float]]


def front_plot(mobile: MobileRecord, name: str, slots: dict[str, int]) -> str | None:
    """Draw the plot as SVG text under the identifier `name`; return None when no artifact has an accuracy."""
    partly = said.partly_asked(mobile)
    measured = [
        (artifact, artifact.accuracy)
        for artifact in mobile.artifacts
        if artifact.accuracy is not None and artifact not in partly
    ]
    if not measured:
        return None
    x, y = _sizes(mobile, measured), _accuracies(mobile, measured)
    svg = draw.figure("Size against accuracy", _description(mobile, measured), name, FRAME)
    svg.set("class", "front")
    _axes(svg, x, y)
    space = Space(Box(FRAME.left, FRAME.top - 6, FRAME.right, FRAME.bottom - 2))
    for artifact, accuracy in measured:
        space.take_point((x(artifact.size_bytes), y(accuracy)))
    _front(svg, measured, x, y, space)
    _limits(svg, mobile, x, y, space)
    for artifact, accuracy in sorted(measured, key=lambda pair: pair[0].size_bytes):
        _point(svg, mobile, artifact, slots[artifact.target], (x(artifact.size_bytes), y(accuracy)), space, y)
    return draw.to_text(svg)


def _description(mobile: MobileRecord, measured: Measured) -> str:
    each = [
        f"{said.full_name(mobile, artifact)} {size(artifact.size_bytes)}, {percent(value)}"
        for artifact, value in measured
    ]
    return f"Accuracy over bytes, logarithmic, of each artifact: {'; '.join(each)}."


def _sizes(mobile: MobileRecord, measured: Measured) -> Log:
    sizes = [float(artifact.size_bytes) for artifact, _ in measured]
    limit = mobile.gate.max_bytes
    near = [float(limit)] if limit and min(sizes) / NEAR <= limit <= max(sizes) * NEAR else []
    return Log(*log_domain([*sizes, *near], margin=1.3), FRAME.left, FRAME.right)


def _accuracies(mobile: MobileRecord, measured: Measured) -> Broken:
    source = [] if mobile.source_accuracy is None else [mobile.source_accuracy]
    return broken([*(value for _, value in measured), *source, *_least(mobile)], FRAME.bottom, FRAME.top)


def _least(mobile: MobileRecord) -> list[float]:
    """Return the accuracy that the gate still lets pass, if the source model's is known."""
    if mobile.source_accuracy is None:
        return []
    return [mobile.source_accuracy - mobile.gate.max_accuracy_drop]


def _axes(svg: draw.Element, x: Log, y: Broken) -> None:
    across = _apart(log_ticks(x.low, x.high, most=7), x)
    label = "size of the file (logarithmic)"
    draw.x_axis(svg, FRAME, draw.ticks_at(across, x, [given_size(round(value)) for value in across]), label)
    # A tick right above the break would stand on it.
    lowest = y.inside.low if y.below is None else y.inside.low + (y.inside.high - y.inside.low) / 20
    up = [value for value in linear_ticks(y.inside.low, y.inside.high, 6) if lowest <= value <= 1]
    draw.y_axis(svg, FRAME, [(y.inside(value), percent(value)) for value in up], "accuracy")
    if y.below is not None:
        _break(svg)


def _apart(ticks: list[float], x: Log) -> list[float]:
    """Return the ticks without those whose label would touch the one before."""
    spaced = ticks[:1]
    for tick in ticks[1:]:
        if x(tick) - x(spaced[-1]) >= TICK_WIDTH:
            spaced.append(tick)
    return spaced


def _break(svg: draw.Element) -> None:
    """Draw two slanted strokes on the axis, and a word on what is below them."""
    top = FRAME.bottom - BAND
    draw.line(svg, (FRAME.left, top), (FRAME.right, top), "break")
    for y in (top - 3, top + 3):
        draw.line(svg, (FRAME.left - 8, y + 4), (FRAME.left + 8, y - 4), "axis")
    draw.add(svg, "text", text="below", x=FRAME.left - 8, y=top + BAND / 2 + 8, text_anchor="end")


def _limits(svg: draw.Element, mobile: MobileRecord, x: Log, y: Broken, space: Space) -> None:
    """Draw all lines first, so that no name is put on one."""
    named = [
        _across(svg, y, least, "limit", f"gate: {percent(least)} or more", space) for least in _least(mobile)
    ]
    if mobile.source_accuracy is not None:
        named.append(_across(svg, y, mobile.source_accuracy, "source", "source model", space))
    if mobile.gate.max_bytes is not None:
        named.append(_most_bytes(svg, mobile.gate.max_bytes, x, space))
    for places in named:
        _write(svg, space.put(places), "limit-name")


def _across(svg: draw.Element, y: Broken, value: float, class_: str, text: str, space: Space) -> list[Place]:
    """Draw a line at an accuracy, unless it is under the break; return where its name may stand."""
    at = y(value)
    if not y.is_below(value):
        draw.line(svg, (FRAME.left, at), (FRAME.right, at), class_)
        space.take_line((FRAME.left, at), (FRAME.right, at))
    heights = (at - 6, at + HEIGHT - 1)
    ends: tuple[tuple[float, Anchor], ...] = (
        (FRAME.right - 4, "end"),
        (FRAME.left + 4, "start"),
        ((FRAME.left + FRAME.right) / 2, "middle"),
        ((FRAME.left + FRAME.right) / 3, "middle"),
    )
    return [Place(text, end, height, anchor) for end, anchor in ends for height in heights]


def _most_bytes(svg: draw.Element, limit: int, x: Log, space: Space) -> list[Place]:
    """Draw a line at a size, beyond the axis an arrow at its end; return where its name may stand."""
    text = f"gate: {given_size(limit)} or less"
    heights = [FRAME.bottom - 10 - HEIGHT * step for step in range(16)]
    if limit > x.high:
        return [Place(f"{text} →", FRAME.right - 4, height, "end") for height in heights]
    if limit < x.low:
        return [Place(f"← {text}", FRAME.left + 4, height, "start") for height in heights]
    draw.line(svg, (x(limit), FRAME.top), (x(limit), FRAME.bottom), "limit")
    space.take_line((x(limit), FRAME.top), (x(limit), FRAME.bottom))
    left = [Place(text, x(limit) - 6, height, "end") for height in heights]
    return left + [Place(text, x(limit) + 6, height, "start") for height in heights]


def _write(svg: draw.Element, place: Place, class_: str) -> None:
    draw.add(svg, "text", text=place.text, x=place.x, y=place.y, text_anchor=place.anchor, class_=class_)


def _front(svg: draw.Element, measured: Measured, x: Log, y: Broken, space: Space) -> None:
    """Draw, from the smallest on, the best accuracy that a file of at most that size has."""
    steps = sorted(
        (x(artifact.size_bytes), y(value)) for artifact, value in measured if artifact.on_pareto_front
    )
    if not steps:
        return
    corners = [steps[0]]
    for across, up in steps[1:]:
        corners += [(across, corners[-1][1]), (across, up)]
    corners.append((FRAME.right, corners[-1][1]))
    for start, end in itertools.pairwise(corners):
        space.take_line(start, end)
    path = "L".join(f"{across:.1f} {up:.1f}" for across, up in corners)
    draw.add(svg, "path", d=f"M{path}", class_="pareto")


def _point(
    svg: draw.Element,
    mobile: MobileRecord,
    artifact: MobileArtifactRecord,
    slot: int,
    at: draw.Point,
    space: Space,
    y: Broken,
) -> None:
    below = artifact.accuracy is not None and y.is_below(artifact.accuracy)
    value = f" {percent(artifact.accuracy)}" if below and artifact.accuracy is not None else ""
    place = space.name(said.unique_name(mobile, artifact) + value, at)
    group = draw.add(svg, "g", class_=f"artifact s{slot}")
    draw.add(group, "title", text=_hover(mobile, artifact))
    if place.led_from:
        draw.line(group, at, place.lead, "leader")
    if artifact is said.chosen(mobile):
        draw.add(group, "circle", cx=at[0], cy=at[1], r=9.5, class_="ring")
    draw.marker(group, slot, at, 5)
    if not artifact.passed:
        draw.cross(group, at)
    _write(group, place, "name")


def _hover(mobile: MobileRecord, artifact: MobileArtifactRecord) -> str:
    parts = [f"{said.full_name(mobile, artifact)}: {size(artifact.size_bytes)}"]
    if artifact.accuracy is not None:
        parts.append(f"accuracy {percent(artifact.accuracy)}")
    if artifact.accuracy_drop is not None:
        parts.append(f"drop {points(artifact.accuracy_drop)} points")
    parts.append("passes" if artifact.passed else f"fails: {said.failures(artifact)}")
    return ", ".join(parts)

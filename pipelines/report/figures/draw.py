"""Pieces of a figure: the frame, text, axes and the marks of targets."""

import xml.etree.ElementTree as ET
from dataclasses import dataclass

from pipelines.console.format import one_line
from pipelines.report.figures.scales import Linear, Log

Element = ET.Element
Point = tuple[float, float]
SLOTS = 6
# Always the same, so that a reader knows them again in another report; all others take what is free.
_FIXED = {
    name: slot
    for slot, name in enumerate(("torchserve", "tfserving", "tflite", "executorch", "onnx", "null"))
}


@dataclass(frozen=True)
class Frame:
    """The plotting area inside a figure, in user units (about 1.15 px on a wide screen)."""

    width: float = 520
    height: float = 330
    left: float = 52
    right: float = 506
    top: float = 32
    bottom: float = 276


def slots(names: list[str]) -> dict[str, int]:
    """Give each target a colour, dash and shape: well-known ones always the same, others in order."""
    taken = {name: _FIXED[name] for name in names if name in _FIXED}
    free = [slot for slot in range(SLOTS) if slot not in taken.values()] or list(range(SLOTS))
    others = [name for name in names if name not in taken]
    return taken | {name: free[index % len(free)] for index, name in enumerate(others)}


def figure(title: str, description: str, name: str, frame: Frame) -> Element:
    """Make an svg element with a title and a description for people who cannot see it."""
    svg = Element("svg", {"viewBox": f"0 0 {frame.width:g} {frame.height:g}", "role": "img"})
    svg.set("aria-labelledby", f"{name}-title {name}-desc")
    add(svg, "title", text=title, id=f"{name}-title")
    add(svg, "desc", text=description, id=f"{name}-desc")
    return svg


def add(parent: Element, tag: str, *, text: str | None = None, **attributes: float | str) -> Element:
    """Append an element; `class_` is class, underscores become dashes, figures are cut to two decimals."""
    named = {
        key.rstrip("_").replace("_", "-"): f"{round(value, 2):g}"
        if isinstance(value, (int, float))
        else value
        for key, value in attributes.items()
    }
    child = ET.SubElement(parent, tag, named)
    if text is not None:
        child.text = one_line(text)
    return child


def line(parent: Element, start: Point, end: Point, class_: str) -> Element:
    """Append a straight line."""
    return add(parent, "line", x1=start[0], y1=start[1], x2=end[0], y2=end[1], class_=class_)


def x_axis(
    svg: Element, frame: Frame, ticks: list[tuple[float, str]], label: str, *, grid: bool = True
) -> None:
    """Draw ticks (position, label), an axis line and a label below the plotting area."""
    for x, text in ticks:
        line(svg, (x, frame.top if grid else frame.bottom), (x, frame.bottom + 4), "grid")
        add(svg, "text", text=text, x=x, y=frame.bottom + 20, text_anchor="middle")
    line(svg, (frame.left, frame.bottom), (frame.right, frame.bottom), "axis")
    middle = (frame.left + frame.right) / 2
    add(svg, "text", text=label, x=middle, y=frame.bottom + 43, text_anchor="middle", class_="label")


def y_axis(svg: Element, frame: Frame, ticks: list[tuple[float, str]], label: str) -> None:
    """Draw ticks (position, label) with grid lines, and a label above the plotting area."""
    for y, text in ticks:
        line(svg, (frame.left - 4, y), (frame.right, y), "grid")
        add(svg, "text", text=text, x=frame.left - 8, y=y + 4, text_anchor="end")
    add(svg, "text", text=label, x=2, y=16, class_="label")


def ticks_at(values: list[float], scale: Linear | Log, labels: list[str]) -> list[tuple[float, str]]:
    """Return positions and labels of ticks."""
    return [(scale(value), text) for value, text in zip(values, labels, strict=True)]


def marker(parent: Element, slot: int, at: Point, size: float, class_: str = "mark") -> Element:
    """Draw the slot's shape, about `size` in radius: circle, square, diamond, two triangles, hexagon."""
    return add(parent, "path", d=_shape(slot, *at, size), class_=f"{class_} s{slot}")


def _shape(slot: int, x: float, y: float, r: float) -> str:
    corners = {
        1: ((-0.88, -0.88), (0.88, -0.88), (0.88, 0.88), (-0.88, 0.88)),
        2: ((0, -1.25), (1.25, 0), (0, 1.25), (-1.25, 0)),
        3: ((0, -1.15), (1.1, 0.85), (-1.1, 0.85)),
        4: ((0, 1.15), (1.1, -0.85), (-1.1, -0.85)),
        5: ((-1.1, 0), (-0.55, -0.95), (0.55, -0.95), (1.1, 0), (0.55, 0.95), (-0.55, 0.95)),
    }.get(slot)
    if corners is None:
        return f"M{x - r:.2f} {y:.2f}a{r:g} {r:g} 0 1 0 {2 * r:g} 0a{r:g} {r:g} 0 1 0 {-2 * r:g} 0z"
    return "M" + "L".join(f"{x + dx * r:.2f} {y + dy * r:.2f}" for dx, dy in corners) + "z"


def cross(parent: Element, at: Point, r: float = 6.5) -> Element:
    """Cross out what is at `at`."""
    path = f"M{at[0] - r:.2f} {at[1] - r:.2f}l{2 * r:g} {2 * r:g}m0 {-2 * r:g}l{-2 * r:g} {2 * r:g}"
    return add(parent, "path", d=path, class_="cross-out")


def swatch(slot: int) -> str:
    """Draw the mark of a target for legends and tables: a stretch of its line with its shape."""
    svg = Element("svg", {"viewBox": "0 0 30 12", "class": "swatch", "aria-hidden": "true"})
    line(svg, (0, 6), (30, 6), f"curve s{slot}")
    marker(svg, slot, (15, 6), 4.5)
    return to_text(svg)


def to_text(svg: Element) -> str:
    """Return the figure as text to put into a page."""
    return ET.tostring(svg, encoding="unicode")

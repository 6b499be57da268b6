"""Where to put the names of points so that none covers a point or another name."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from pipelines.report.figures.draw import Point

# Of the larger text that a narrow screen gets, so that names keep apart there too.
CHARACTER, HEIGHT = 8.8, 17.0
RADIUS, CROWD = 8.0, 12.0
DISTANCES = (24.0, 40.0, 58.0, 78.0, 100.0)
DIRECTIONS = ((1, 0.5), (1, -0.5), (-1, -0.5), (-1, 0.5), (0.4, 1), (0.4, -1), (-0.4, -1), (-0.4, 1))
LEAD_PARTS = tuple(part / 12 for part in range(3, 12))
Anchor = Literal["start", "middle", "end"]


@dataclass(frozen=True)
class Box:
    """A rectangle of the figure in user units."""

    left: float
    top: float
    right: float
    bottom: float

    def overlap(self, other: "Box") -> float:
        """Return the area that both boxes cover."""
        across = min(self.right, other.right) - max(self.left, other.left)
        down = min(self.bottom, other.bottom) - max(self.top, other.top)
        return max(0.0, across) * max(0.0, down)

    @property
    def area(self) -> float:
        """Width times height."""
        return (self.right - self.left) * (self.bottom - self.top)


@dataclass(frozen=True)
class Place:
    """Where a text starts, ends or has its middle, on its base line.

    `led_from` is the point that a line leads from when the text is not right beside it.
    """

    text: str
    x: float
    y: float
    anchor: Anchor
    led_from: Point | None = None

    @property
    def box(self) -> Box:
        """What the text covers."""
        width = CHARACTER * len(self.text)
        left = self.x - {"start": 0.0, "middle": width / 2, "end": width}[self.anchor]
        return Box(left, self.y - HEIGHT + 4, left + width, self.y + 4)

    @property
    def covers(self) -> list[Box]:
        """The text and small boxes along the line to it, but for the crowd that the line starts in."""
        if self.led_from is None:
            return [self.box]
        (x, y), (to_x, to_y) = self.led_from, self.lead
        along = [(x + (to_x - x) * part, y + (to_y - y) * part) for part in LEAD_PARTS]
        return [self.box, *(Box(at[0] - 1.5, at[1] - 1.5, at[0] + 1.5, at[1] + 1.5) for at in along)]

    @property
    def lead(self) -> Point:
        """The point of the text that a line leads to."""
        return self.x + {"start": -2.0, "middle": 0.0, "end": 2.0}[self.anchor], self.y - 4


@dataclass
class Space:
    """The room inside `bounds`, and what of it is taken."""

    bounds: Box
    taken: list[Box] = field(default_factory=list)
    points: list[Point] = field(default_factory=list)

    def take_point(self, at: Point) -> None:
        """Keep texts off a mark."""
        self.points.append(at)
        self.taken.append(Box(at[0] - RADIUS, at[1] - RADIUS, at[0] + RADIUS, at[1] + RADIUS))

    def take_line(self, start: Point, end: Point) -> None:
        """Keep texts off a level or upright line, where there is room elsewhere."""
        (left, right), (top, bottom) = sorted((start[0], end[0])), sorted((start[1], end[1]))
        self.taken.append(Box(left - 1, top - 1, right + 1, bottom + 1))

    def put(self, places: list[Place]) -> Place:
        """Take the first of the places that covers nothing, else the one that covers least."""
        best = min(places, key=self._covered)
        self.taken.extend(best.covers)
        return best

    def name(self, text: str, at: Point) -> Place:
        """Take a place for the name of the point `at`, as near as there is room."""
        return self.put(list(_around(text, *at, crowded=self._crowded(at))))

    def _crowded(self, at: Point) -> bool:
        """Return whether another mark is so near that a name above or below could be its own."""
        return sum(math.dist(at, other) < CROWD for other in self.points) > 1

    def _covered(self, place: Place) -> float:
        outside = place.box.area - place.box.overlap(self.bounds)
        return outside + sum(own.overlap(box) for own in place.covers for box in self.taken)


def _around(text: str, x: float, y: float, *, crowded: bool) -> Iterator[Place]:
    yield Place(text, x + RADIUS + 3, y + 5, "start")
    yield Place(text, x - RADIUS - 3, y + 5, "end")
    if not crowded:
        yield Place(text, x, y - RADIUS - 5, "middle")
        yield Place(text, x, y + RADIUS + 14, "middle")
    for distance in DISTANCES:
        for across, down in DIRECTIONS:
            anchor: Anchor = "start" if across > 0 else "end"
            yield Place(text, x + across * distance, y + down * distance + 4, anchor, (x, y))

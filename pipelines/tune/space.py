"""The configurations that a search may try: a point has one level of each axis, and is a preset."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any

from pipelines.targets.presets import Preset, changed
from pipelines.targets.tuning import Axis, at_preset

Point = tuple[int, ...]
"""A level's place on each axis; on an axis that means nothing there it is where that starts."""

TRADED = (("workers", "threads"),)
"""More of one wants less of the other: both compute on the same cores."""
TOGETHER = (("batch", "delay"),)
"""More of one wants more of the other: a larger batch takes longer to gather."""


@dataclass(frozen=True)
class Space:
    """All points around a preset, which is the one that a search starts from.

    Attributes:
        target: whose settings they are.
        base: what every point changes; at `start` it is as it is.
        axes: as they start from `base`.
    """

    target: str
    base: Preset
    axes: tuple[Axis, ...]

    @cached_property
    def start(self) -> Point:
        """The point that `base` is."""
        return tuple(axis.start for axis in self.axes)

    def points(self) -> list[Point]:
        """List all configurations, each once."""
        every = product(*(range(len(axis.levels)) for axis in self.axes))
        return list(dict.fromkeys(map(self.canonical, every)))

    @property
    def size(self) -> int:
        """How many different configurations there are."""
        return len(self.points())

    def canonical(self, point: Sequence[int]) -> Point:
        """Return the point with every axis that has no effect there put back to its start."""
        return tuple(
            place if self._matters(axis, point) else axis.start
            for axis, place in zip(self.axes, point, strict=True)
        )

    def _matters(self, axis: Axis, point: Sequence[int]) -> bool:
        place = self._places.get(axis.needs or "")
        return place is None or point[place] != 0

    @cached_property
    def _places(self) -> Mapping[str, int]:
        return {axis.name: place for place, axis in enumerate(self.axes)}

    def labels(self, point: Point) -> dict[str, str]:
        """Return the level of each axis that has an effect there, by the axis's name."""
        return {
            axis.name: axis.levels[place].label
            for axis, place in zip(self.axes, point, strict=True)
            if self._matters(axis, point)
        }

    def preset(self, point: Point) -> Preset:
        """Return the configuration of a point: `base` with the settings that differ from it."""
        changes: dict[str, Any] = {}
        for axis, place in zip(self.axes, point, strict=True):
            if self._matters(axis, point) and (place != axis.start or self._is_new(axis)):
                changes |= axis.levels[place].settings
        if not changes:
            return self.base
        return changed(self.base, self.target, changes, f"a point of {self.target}")

    def _is_new(self, axis: Axis) -> bool:
        """Return whether an axis has no effect at the start; one that has is left at its level there."""
        return axis.needs is not None and not self._matters(axis, self.start)

    def coarse(self) -> list[Point]:
        """Return the sweep: the start, then each axis at its ends and its middle, others at their start."""
        points = [self.start]
        for place, axis in enumerate(self.axes):
            if self._matters(axis, self.start):
                points += [
                    point
                    for level in _spread(len(axis.levels))
                    if level != axis.start
                    for point in self._moved(self.start, {place: level})
                ]
        points += [
            self.canonical(self._with(self.start, {first: ends[0], other: ends[1]}))
            for first, other in self._pairs(TRADED)
            for ends in ((len(self.axes[first].levels) - 1, 0), (0, len(self.axes[other].levels) - 1))
        ]
        return list(dict.fromkeys(points))

    def neighbours(self, point: Point) -> list[Point]:
        """Return the points a step away on each axis that matters, or on two that depend on each other."""
        moves: list[dict[int, int]] = [
            {place: step}
            for place, axis in enumerate(self.axes)
            if self._matters(axis, point)
            for step in (1, -1)
        ]
        for pairs, same in ((TRADED, -1), (TOGETHER, 1)):
            moves += [
                {first: step, other: same * step} for first, other in self._pairs(pairs) for step in (1, -1)
            ]
        points: list[Point] = []
        for move in moves:
            places = {place: point[place] + step for place, step in move.items()}
            if all(0 <= level < len(self.axes[place].levels) for place, level in places.items()):
                points += self._moved(point, places)
        return [neighbour for neighbour in dict.fromkeys(points) if neighbour != point]

    def _pairs(self, names: Sequence[tuple[str, str]]) -> Iterator[tuple[int, int]]:
        for first, other in names:
            if first in self._places and other in self._places:
                yield self._places[first], self._places[other]

    def _moved(self, point: Point, places: Mapping[int, int]) -> list[Point]:
        """Return the point with levels changed; axes that now matter are at their least or middle level."""
        moved = self._with(point, places)
        fresh = [
            place
            for place, axis in enumerate(self.axes)
            if axis.needs and place not in places and self._matters(axis, moved) > self._matters(axis, point)
        ]
        choices = [dict.fromkeys(fresh, "least"), dict.fromkeys(fresh, "middle")] if fresh else [{}]
        points = [
            self._with(moved, {place: self._chosen(place, where) for place, where in choice.items()})
            for choice in choices
        ]
        return list(dict.fromkeys(map(self.canonical, points)))

    def _chosen(self, place: int, where: str) -> int:
        """Choose the level of an axis that came to matter: its start if no end, such as a thread per core."""
        axis = self.axes[place]
        if 0 < axis.start < len(axis.levels) - 1:
            return axis.start
        return 0 if where == "least" else (len(axis.levels) - 1) // 2

    @staticmethod
    def _with(point: Sequence[int], places: Mapping[int, int]) -> Point:
        return tuple(places.get(place, level) for place, level in enumerate(point))


def _spread(count: int) -> list[int]:
    """Return the last of `count` levels, the first, and the middle one."""
    return list(dict.fromkeys((count - 1, 0, (count - 1) // 2)))


def space_around(
    target: str,
    base: Preset,
    cores_count: int,
    limit_ms: float,
    axes_of: Callable[[str, int, float], tuple[Axis, ...]],
) -> Space:
    """Return the space of a target around a preset, for so many cores and a limit on p99.

    Raises:
        RequestError: nothing of the target can be tuned.
    """
    settings = base.settings.given()
    axes = axes_of(target, cores_count, limit_ms)
    return Space(target, base, tuple(at_preset(axis, settings, cores_count) for axis in axes))


def next_point(space: Space, rates: Mapping[Point, float | None]) -> Point | None:
    """Return what to try next: the sweep in its order, then around the best point; None at its top.

    The same history gives the same answer, so that a search goes on where it was interrupted.
    """
    for point in space.coarse():
        if point not in rates:
            return point
    best = best_point(rates)
    if best is None:
        return None
    around = [neighbour for neighbour in space.neighbours(best) if neighbour not in rates]
    return max(around, key=lambda neighbour: _promise(neighbour, best, rates), default=None)


def _promise(point: Point, best: Point, rates: Mapping[Point, float | None]) -> float:
    """Estimate a neighbour's rate: the best rate known at its worst new level; the best point's if untried.

    So a step that was no good around the last best is taken last around this one.
    """
    changed_places = [place for place in range(len(point)) if point[place] != best[place]]
    return min(
        max(
            (rate or 0.0 for tried, rate in rates.items() if tried[place] == point[place]),
            default=rates[best] or 0.0,
        )
        for place in changed_places
    )


def best_point(rates: Mapping[Point, float | None]) -> Point | None:
    """Return the point with the highest rate; None if no point has one."""
    known_rates = {point: rate for point, rate in rates.items() if rate is not None}
    return max(known_rates, key=lambda point: known_rates[point]) if known_rates else None

"""Which artifacts are on the Pareto front of size against accuracy. Pure functions."""

from collections.abc import Sequence

Point = tuple[int, float | None]


def on_front(points: Sequence[Point]) -> list[bool]:
    """Return per point whether no other is at least as good in both size and accuracy, and better in one.

    An artifact whose accuracy is unknown is never on the front.
    """
    return [known(point) and not any(dominates(other, point) for other in points) for point in points]


def known(point: Point) -> bool:
    """Return whether there is an accuracy."""
    return point[1] is not None


def dominates(point: Point, other: Point) -> bool:
    """Return whether `point` is as small and as accurate as `other`, and smaller or more accurate."""
    if point[1] is None or other[1] is None:
        return False
    no_worse = point[0] <= other[0] and point[1] >= other[1]
    return no_worse and (point[0] < other[0] or point[1] > other[1])

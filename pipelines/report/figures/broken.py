"""An axis for values that mostly lie together: those far below share one line under a break."""

from dataclasses import dataclass

from pipelines.report.figures.scales import Linear

# A gap this many times what lies above it would squeeze that; what lies above counts as two points at least.
FAR, LEAST_SPREAD = 3.0, 0.02
# The least that the axis shows, and the room above and below the values, as parts of 1 and of the range.
LEAST_RANGE, MARGIN = 0.01, 0.12
BAND = 56.0


@dataclass(frozen=True)
class Broken:
    """Maps shares to positions; those below `inside` to `below`, which is None when there are none."""

    inside: Linear
    below: float | None

    def __call__(self, value: float) -> float:
        """Return the position of `value`."""
        return self.below if self.below is not None and self.is_below(value) else self.inside(value)

    def is_below(self, value: float) -> bool:
        """Return whether `value` is under the break."""
        return value < self.inside.low


def broken(values: list[float], start: float, end: float) -> Broken:
    """Make the axis of shares of 1 from `start` at the bottom to `end` at the top."""
    cluster = together(values)
    reach = max(cluster[0] - cluster[-1], LEAST_RANGE)
    middle = (cluster[0] + cluster[-1]) / 2
    low, high = middle - reach * (0.5 + MARGIN), middle + reach * (0.5 + MARGIN)
    if len(cluster) == len(values):
        return Broken(Linear(low, high, start, end), None)
    return Broken(Linear(low, high, start - BAND, end), start - BAND / 2 + 4)


def together(values: list[float]) -> list[float]:
    """Return the largest values down to the first gap that would squeeze them, in falling order."""
    ordered = sorted(values, reverse=True)
    for place in range(1, len(ordered)):
        spread = max(ordered[0] - ordered[place - 1], LEAST_SPREAD)
        if ordered[place - 1] - ordered[place] > FAR * spread:
            return ordered[:place]
    return ordered

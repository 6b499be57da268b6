"""From values to positions, and where to put ticks."""

import math
from dataclasses import dataclass

from pipelines.console.format import significant

STEPS = (1.0, 2.0, 5.0)


@dataclass(frozen=True)
class Linear:
    """Maps `low`…`high` to `start`…`end` in user units of the figure."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Return the position of `value`."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


@dataclass(frozen=True)
class Log:
    """The same, by the logarithm; `low` must be above 0."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Return the position of `value`, which is held inside the scale."""
        inside = min(max(value, self.low), self.high)
        share = math.log(inside / self.low) / math.log(self.high / self.low)
        return self.start + share * (self.end - self.start)


def log_domain(values: list[float], least_factor: float = 2.0, margin: float = 1.08) -> tuple[float, float]:
    """Return the ends of a logarithmic axis for all `values` above 0, at least `least_factor` apart."""
    positive = [value for value in values if value > 0] or [1.0]
    low, high = min(positive) / margin, max(positive) * margin
    stretch = math.sqrt(max(1.0, least_factor / (high / low)))
    return low / stretch, high * stretch


def log_ticks(low: float, high: float, most: int = 9) -> list[float]:
    """Return round values inside `low`…`high`: 1-2-5 steps; decades when too many, even steps when few."""
    ticks = _inside(STEPS, low, high)
    if len(ticks) > most:
        decades = _inside((1.0,), low, high)
        every = math.ceil(len(decades) / most)
        return decades[::every]
    few = 3
    return ticks if len(ticks) >= few else [tick for tick in linear_ticks(low, high, 6) if tick >= low]


def _inside(steps: tuple[float, ...], low: float, high: float) -> list[float]:
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    # From text, because 5 * 10 ** -2 is not always 0.05.
    candidates = [float(f"{step}e{power}") for power in powers for step in steps]
    return [value for value in candidates if low <= value <= high]


def linear_ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Return about that many round values, 1, 2 or 5 times a power of ten apart, inside `low`…`high`."""
    rough = (high - low) / about
    power = math.floor(math.log10(rough))
    step = next(
        float(f"{multiple}e{power}") for multiple in (*STEPS, 10.0) if float(f"{multiple}e{power}") >= rough
    )
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [float(f"{index * step:.10g}") for index in range(first, last + 1)]


def tick_label(value: float) -> str:
    """Format a tick without trailing zeros: 0.5, 2, 1 000."""
    text = significant(value, 6)
    return text.rstrip("0").rstrip(".") if "." in text else text

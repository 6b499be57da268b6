"""How far an artifact's outputs may be from the source model's."""

import math
from dataclasses import dataclass

from models.errors import ModelError


@dataclass(frozen=True)
class Tolerance:
    """An output passes when |got - expected| <= absolute + relative * |expected|.

    `reduced` is for precisions below float32, which cannot keep the two: the root mean square of
    got - expected over all samples, as a share of the outputs' own standard deviation between samples; None:
    0.2 for scores of classes, 0.1 for any other output.
    """

    absolute: float
    relative: float
    reduced: float | None = None

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            limit = math.inf if name == "absolute" else 1
            if value is not None and not 0 <= value < limit:
                raise ModelError(f"tolerance {name} is {value}; at least 0 and below {limit} is allowed")


EXACT = Tolerance(0.0, 0.0)

"""Why something was so, as a code with figures. The code that shows it to a person makes the sentence."""

from collections.abc import Mapping
from dataclasses import dataclass, field

Figure = int | float | str | tuple[str, ...] | tuple[float, ...]


@dataclass(frozen=True)
class Reason:
    """A code, and by name the figures it was found with; the unit is the end of a figure's name."""

    code: str
    figures: Mapping[str, Figure] = field(default_factory=dict)

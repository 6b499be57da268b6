"""Several verdicts at once: Holm's correction, so that one false one is no likelier than with one verdict."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from loadtests.intervals import CONFIDENCE
from loadtests.verdict import Verdict

UNDECIDED: Final = "inconclusive"

Judge = Callable[[float], Verdict]
"""Gives the verdict by the interval of a confidence, 0 to 1; a lower confidence never decides less."""


@dataclass(frozen=True)
class Corrected:
    """A verdict and the confidence of the interval that it goes by, 0 to 1."""

    verdict: Verdict
    confidence: float


def holm(family: Sequence[Judge], confidence: float = CONFIDENCE) -> list[Corrected]:
    """Return a family's verdicts in its order, with an error of 1 - confidence for all of them together.

    Holm's step-down procedure (1979, "A simple sequentially rejective multiple test procedure", Scandinavian
    Journal of Statistics 6(2)), with intervals in place of p-values: the p-value of a verdict is the error at
    which its interval just decides. Everything is judged with the error divided by the number of members;
    those that are decided leave the family, and the others are judged again with the error divided by the
    number that is left, until none is decided any more.
    """
    verdicts: dict[int, Corrected] = {}
    left = list(range(len(family)))
    while left:
        level = 1 - (1 - confidence) / len(left)
        verdicts |= {place: Corrected(family[place](level), level) for place in left}
        undecided = [place for place in left if verdicts[place].verdict.word == UNDECIDED]
        if undecided == left:
            break
        left = undecided
    return [verdicts[place] for place in range(len(family))]

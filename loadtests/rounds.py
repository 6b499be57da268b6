"""In which order rounds are measured."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class PlannedRound:
    """One round to measure; rounds of the same block, load and repetition are compared as a pair."""

    block: int
    load: str
    repetition: int
    target: str


def rotated(targets: Sequence[T], turn: int) -> list[T]:
    """Rotate the targets by one every turn: A B, B A, A B, … so that none is always first."""
    start = turn % len(targets)
    return [*targets[start:], *targets[:start]]


def block_rounds(
    block: int, targets: Sequence[str], loads: Sequence[str], repetitions: int
) -> Iterator[PlannedRound]:
    """Yield the rounds of one block, interleaved: per load A B B A …, with the start alternating by block."""
    for load in loads:
        for repetition in range(repetitions):
            for target in rotated(targets, block + repetition):
                yield PlannedRound(block, load, repetition, target)

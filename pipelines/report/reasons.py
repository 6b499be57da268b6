"""Why rounds were not used, counted by kind."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from pipelines.record.rounds import RoundRecord


@dataclass(frozen=True)
class Kind:
    """Reasons that differ in their figures only; `reason` is the first, `alike` whether there are others."""

    reason: str
    alike: bool
    rounds_count: int

    @property
    def happened(self) -> str:
        """The reason without what to do about it."""
        return self.reason.partition(": ")[0] + (" and the like" if self.alike else "")


def reasons(one: RoundRecord) -> tuple[str, ...]:
    """Why a round was not used; never empty."""
    return one.invalid_reasons or (("interrupted",) if one.interrupted else ("no reason recorded",))


def kinds(rounds: Iterable[RoundRecord]) -> list[Kind]:
    """The kinds of reasons of all rounds that were not used, the most frequent first."""
    found: dict[str, list[str]] = {}
    for one in rounds:
        for reason in () if one.valid else reasons(one):
            # The limit in a remedy does not make another kind.
            figureless = re.sub(r"[\d.,]+", "", reason.partition(": ")[0])
            found.setdefault(figureless, []).append(reason)
    made = [Kind(said[0], len(set(said)) > 1, len(said)) for said in found.values()]
    return sorted(made, key=lambda kind: -kind.rounds_count)

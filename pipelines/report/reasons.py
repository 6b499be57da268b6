"""Why rounds were not used, counted by kind."""

from collections.abc import Iterable
from dataclasses import dataclass

from pipelines.record.reason import ReasonRecord, reason
from pipelines.record.rounds import RoundRecord
from pipelines.report.sentences import Said, say


@dataclass(frozen=True)
class Kind:
    """Reasons with the same code; `said` is the first, `alike` whether others have other figures."""

    said: Said
    alike: bool
    rounds_count: int

    @property
    def happened(self) -> str:
        """The reason without what to do about it."""
        return self.said.happened + (" and the like" if self.alike else "")


def reasons(one: RoundRecord) -> tuple[ReasonRecord, ...]:
    """Return why a round was not used; never empty."""
    return one.invalid_reasons or (reason("interrupted" if one.interrupted else "not_recorded"),)


def kinds(rounds: Iterable[RoundRecord]) -> list[Kind]:
    """Group the reasons of all rounds that were not used by kind, the most frequent first."""
    found: dict[object, list[Said]] = {}
    for one in rounds:
        for why in () if one.valid else reasons(one):
            found.setdefault(_kind(why), []).append(say(why))
    made = [Kind(said[0], len(set(said)) > 1, len(said)) for said in found.values()]
    return sorted(made, key=lambda kind: -kind.rounds_count)


def _kind(why: ReasonRecord) -> object:
    """Return the code; for a sentence of version 1 the failed check, or the sentence itself."""
    if why.code != "text":
        return why.code
    return ("text", why.figures.get("check") or why.figures.get("text"))

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


def reasons(record: RoundRecord) -> tuple[ReasonRecord, ...]:
    """Return why a round was not used; never empty."""
    return record.invalid_reasons or (reason("interrupted" if record.interrupted else "not_recorded"),)


def kinds(rounds: Iterable[RoundRecord]) -> list[Kind]:
    """Group the reasons of all rounds that were not used by kind, the most frequent first."""
    by_kind: dict[object, list[Said]] = {}
    for record in rounds:
        for why in () if record.valid else reasons(record):
            by_kind.setdefault(_kind(why), []).append(say(why))
    groups = [Kind(texts[0], len(set(texts)) > 1, len(texts)) for texts in by_kind.values()]
    return sorted(groups, key=lambda kind: -kind.rounds_count)


def _kind(why: ReasonRecord) -> object:
    """Return the code; for a sentence of version 1 the failed check, or the sentence itself."""
    if why.code != "text":
        return why.code
    return ("text", why.figures.get("check") or why.figures.get("text"))

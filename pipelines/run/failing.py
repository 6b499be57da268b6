"""What is kept of a run that failed, carried by the error that ended it to whoever writes it elsewhere."""

from dataclasses import dataclass
from pathlib import Path

from pipelines.record.run import RunRecord

ATTRIBUTE = "tandem_kept_run"


@dataclass(frozen=True)
class Kept:
    """A failed run's record and its folder."""

    record: RunRecord
    folder: Path


def carry(error: BaseException, kept: Kept) -> None:
    """Let an error carry the run that it ended."""
    setattr(error, ATTRIBUTE, kept)


def carried_by(error: BaseException | None) -> Kept | None:
    """Return the run that an error ended, or one of those that caused it; None if there was none yet."""
    while error is not None:
        kept = getattr(error, ATTRIBUTE, None)
        if isinstance(kept, Kept):
            return kept
        error = error.__cause__
    return None

"""What is kept of a run, carried by the error that ended its command to whoever writes it elsewhere."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from pipelines.record.run import RunRecord
from pipelines.tasks.failures import as_user_error

ATTRIBUTE = "tandem_kept_run"


@dataclass(frozen=True)
class Kept:
    """A run's record and its folder."""

    record: RunRecord
    folder: Path


def carry(error: BaseException, kept: Kept) -> None:
    """Let an error carry the run that it ended."""
    setattr(error, ATTRIBUTE, kept)


@contextmanager
def carrying(kept: Kept) -> Iterator[None]:
    """Let whatever ends what is done with a run carry it, an interruption as well."""
    try:
        yield
    except BaseException as error:
        carry(error, kept)
        raise


def fail(error: BaseException, finish: Callable[[str], str]) -> NoReturn:
    """Let `finish` end the record with the reason, then raise the error with the note that it returns.

    Raises:
        UserError: what a person can act on.
        BaseException: anything else as it was raised.
    """
    user_error = as_user_error(error)
    kept_note = finish(str(user_error) if user_error else f"{type(error).__name__}: {error}")
    if user_error is None:
        raise error
    raise type(user_error)(f"{user_error}{kept_note}") from error


def carried_by(error: BaseException | None) -> Kept | None:
    """Return the run that an error ended, or one of those that caused it; None if there was none yet."""
    while error is not None:
        kept = getattr(error, ATTRIBUTE, None)
        if isinstance(kept, Kept):
            return kept
        error = error.__cause__
    return None

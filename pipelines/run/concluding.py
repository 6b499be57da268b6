"""How a run of one piece of work ends: complete, interrupted or failed, and always with a record."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from pipelines.record.run import RunRecord
from pipelines.run.failing import Kept, carry
from pipelines.run.run import Status
from pipelines.tasks.failures import as_user_error


def conclude_whole(
    work: Callable[[], None],
    finish: Callable[[Status, str | None], RunRecord],
    folder: Path,
    done: Callable[[], str],
) -> RunRecord:
    """Do the work of a run without rounds, and `finish` its record however that ends.

    Args:
        done: how much of it is done, such as "3 of 11 trainings".

    Raises:
        UserError: what a person can act on, with the folder in which what was measured is kept.
        BaseException: anything else as it was raised. Either carries the record (see `carried_by`).
    """
    try:
        work()
    except KeyboardInterrupt:
        return finish("interrupted", f"interrupted after {done()}")
    except BaseException as error:
        user_error = as_user_error(error)
        with suppress(Exception):  # the first failure is the one to tell
            reason = str(user_error) if user_error else f"{type(error).__name__}: {error}"
            carry(error, Kept(finish("failed", reason), folder))
        if user_error is None:
            raise
        raise type(user_error)(f"{user_error}; what was measured is kept in {folder}") from error
    return finish("complete", None)

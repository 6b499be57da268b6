"""How a run of one piece of work ends: complete, interrupted or failed, and always with a record."""

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from pipelines.record.run import RunRecord
from pipelines.run.failing import Kept, carry, fail
from pipelines.run.run import Status


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

    def keep(error: BaseException, reason: str) -> str:
        with suppress(Exception):  # the first failure is the one to tell
            carry(error, Kept(finish("failed", reason), folder))
        return f"; what was measured is kept in {folder}"

    try:
        work()
    except KeyboardInterrupt:
        return finish("interrupted", f"interrupted after {done()}")
    except BaseException as error:  # noqa: BLE001 - raised again
        fail(error, partial(keep, error))
    return finish("complete", None)

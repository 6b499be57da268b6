"""`tandem runs`: the folders of runs on this disk, listed and pruned."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pipelines.errors import RequestError
from pipelines.files.atomic import disk_error
from pipelines.history.stage import run_folders
from pipelines.run.rebuild import read_coherent

MOST_DAYS = 36_500


@dataclass(frozen=True)
class Kept:
    """A run on disk; what cannot be read of it is None, and `problem` says why."""

    folder: Path
    size_bytes: int
    is_latest: bool
    kind: str | None = None
    model: str | None = None
    status: str | None = None
    started_at_utc: str | None = None
    problem: str | None = None


def list_runs(runs: Path) -> tuple[Kept, ...]:
    """List every run below a folder, the oldest first.

    Raises:
        RequestError: the folder cannot be read.
    """
    latest = (runs / "latest").resolve()
    return tuple(_kept(folder, folder.resolve() == latest) for folder in run_folders(runs))


def _kept(folder: Path, is_latest: bool) -> Kept:
    size = sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    try:
        run = read_coherent(folder)
    except RequestError as error:
        return Kept(folder, size, is_latest, problem=str(error))
    return Kept(folder, size, is_latest, run.kind, run.model.name, run.status, run.started_at_utc)


def chosen_to_prune(
    runs: Sequence[Kept],
    *,
    keep: int | None,
    older_than_days: float | None,
    model: str | None,
    now: datetime | None = None,
) -> tuple[Kept, ...]:
    """Choose runs to remove: all but the newest `keep` of each model, all older than so many days, or both.

    The latest run and runs that cannot be read always stay.

    Raises:
        RequestError: nothing was asked for, or a number that cannot be.
    """
    if keep is None and older_than_days is None:
        raise RequestError("say what to keep: --keep 10, --older-than 30 (days), or both")
    if keep is not None and keep < 0:
        raise RequestError(f"--keep is {keep}; it is not below 0")
    if older_than_days is not None and not 0 <= older_than_days <= MOST_DAYS:
        raise RequestError(f"--older-than is {older_than_days:g} days; allowed: 0 to {MOST_DAYS}")
    of_model = [run for run in runs if run.started_at_utc and model in (None, run.model)]
    return tuple(
        run
        for run in of_model
        if not run.is_latest
        and (keep is None or _newer(run, of_model) >= keep)
        and (older_than_days is None or _age(run, now) > timedelta(days=older_than_days))
    )


def _newer(run: Kept, runs: Sequence[Kept]) -> int:
    """Count the runs of its model that were started after it."""
    return sum(other.model == run.model and _order(other) > _order(run) for other in runs if other is not run)


def _order(run: Kept) -> tuple[str, str]:
    return run.started_at_utc or "", run.folder.name


def _age(run: Kept, now: datetime | None) -> timedelta:
    try:
        started = datetime.fromisoformat(run.started_at_utc or "")
    except ValueError:
        return timedelta(0)
    return (now or datetime.now(UTC)) - (started if started.tzinfo else started.replace(tzinfo=UTC))


def prune(chosen: Sequence[Kept]) -> None:
    """Remove the folders.

    Raises:
        MachineError: the disk refused.
    """
    for run in chosen:
        try:
            shutil.rmtree(run.folder)
        except OSError as error:
            raise disk_error(run.folder, error) from error

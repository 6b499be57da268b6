"""The report stage: every figure and page of a run again, from its raw files.

A run may come from anywhere: what cannot be read, or does not hold together, is a wrong request in one line.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import ValidationError

from pipelines.errors import MachineError, RequestError
from pipelines.files.atomic import disk_error
from pipelines.judge.mobile import refigure
from pipelines.judge.summarise import summarise
from pipelines.judge.training import refigured
from pipelines.record.reading import RUN_LIMIT_BYTES, read_run
from pipelines.record.run import RunRecord
from pipelines.report import render_report, write_rendered
from pipelines.run.coherence import contradiction

SHOWN = 300
# What values that no measurement gives lead to: overflows, divisions by nothing, figures no record holds.
# A name that leads nowhere or a value of another type is not among them: both were looked at before.
NO_FIGURE = (ArithmeticError, RuntimeWarning, ValueError)

WITHOUT_ROUNDS = ("mobile", "train")


def rebuild(folder: Path) -> tuple[RunRecord, Path]:
    """Recompute `folder`'s figures and write its run.json, report.md and report.html anew.

    Raises:
        RequestError: there is no run there, it is of another version, or it is damaged.
        MachineError: the disk refused.
    """
    run = read_coherent(folder)
    with holding_together(folder):
        record = _refigure(run, folder)
        texts = render_report(record)
    try:
        write_rendered(texts, folder)
    except OSError as error:
        raise disk_error(folder, error) from error
    return record, folder


@contextmanager
def holding_together(folder: Path) -> Iterator[None]:
    """Work with a run that is coherent, whatever its numbers and its raw files are.

    Anything else that is raised is no fault of the run.

    Raises:
        RequestError: its numbers lead to no figures, or a raw file is missing or damaged.
    """
    try:
        with warnings.catch_warnings():
            # An overflow is a warning to numpy; here it says that a figure is none.
            warnings.simplefilter("error", RuntimeWarning)
            yield
    except MachineError as error:
        raise RequestError(f"{folder} cannot be read: {error}") from error
    except NO_FIGURE as error:
        raise _incoherent(folder, f"{type(error).__name__}: {error}") from error


def read_coherent(folder: Path) -> RunRecord:
    """Read the record of a run as it is on disk, from wherever that came.

    Raises:
        RequestError: there is no run there, it is of another version, or it is damaged.
    """
    run = _read(folder)
    if wrong := contradiction(run):
        raise _incoherent(folder, wrong)
    return run


def _incoherent(folder: Path, why: str) -> RequestError:
    reason = " ".join(why.split())[:SHOWN]
    return RequestError(
        f"{folder / 'run.json'} does not hold together ({reason}); take the run from where it was measured"
    )


def _read(folder: Path) -> RunRecord:
    path = folder / "run.json"
    try:
        return read_run(folder)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise RequestError(
            f"{folder} holds no run.json; give a folder below runs/, such as runs/latest"
        ) from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))[:SHOWN]
        raise RequestError(
            f"{path} does not follow this version's schema at {place}: {first['msg'][:SHOWN]}"
        ) from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise RequestError(
            f"{path} cannot be read: {reason}; a run.json is a regular file of at most "
            f"{RUN_LIMIT_BYTES} bytes"
        ) from error


def _refigure(run: RunRecord, folder: Path) -> RunRecord:
    record = run if run.kind in WITHOUT_ROUNDS else summarise(run, folder)
    if record.training:
        record = record.model_copy(update={"training": refigured(record.training)})
    if record.mobile:
        record = record.model_copy(update={"mobile": refigure(record.mobile, folder)})
    return record

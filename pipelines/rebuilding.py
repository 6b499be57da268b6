"""The report stage: every figure and page of a run again, from its raw files."""

from pathlib import Path

from pydantic import ValidationError

from pipelines.errors import RequestError
from pipelines.files import disk_error
from pipelines.mobile.figures import refigure
from pipelines.record import RunRecord, read_run
from pipelines.report import write_report
from pipelines.summarising import summarise


def rebuild(folder: Path) -> tuple[RunRecord, Path]:
    """Recompute `folder`'s figures and write its run.json, report.md and report.html anew.

    Raises:
        RequestError: there is no run there, or it is of another version.
        MachineError: a raw file is missing or damaged, or the disk refused.
    """
    try:
        run = read_run(folder)
    except FileNotFoundError as error:
        raise RequestError(
            f"{folder} holds no run.json; give a folder below runs/, such as runs/latest"
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise RequestError(
            f"{folder / 'run.json'} does not follow this version's schema at {place}: {first['msg']}"
        ) from error
    record = run if run.kind == "mobile" else summarise(run, folder)
    if record.mobile:
        record = record.model_copy(update={"mobile": refigure(record.mobile, folder)})
    try:
        write_report(record, folder)
    except OSError as error:
        raise disk_error(folder, error) from error
    return record, folder

"""The record itself as a file."""

from pathlib import Path

from pipelines.record.run import RunRecord
from pipelines.report.files import write_text


def render_json(run: RunRecord) -> str:
    """Render the record as JSON: two spaces, fields in the order of the schema, a newline at the end."""
    return run.model_dump_json(indent=2) + "\n"


def write_run(run: RunRecord, folder: Path) -> Path:
    """Write `folder`/run.json in one step and return its path.

    Raises:
        OSError: the folder cannot be written.
    """
    path = folder / "run.json"
    write_text(path, render_json(run))
    return path

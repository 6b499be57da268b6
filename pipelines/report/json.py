"""The record itself as a file."""

from pathlib import Path

from pipelines.files.atomic import replace_file
from pipelines.record.run import RunRecord


def render_json(run: RunRecord) -> str:
    """Render the record as JSON: two spaces, fields in the order of the schema, a newline at the end."""
    return run.model_dump_json(indent=2) + "\n"


def write_run(run: RunRecord, folder: Path) -> Path:
    """Write `folder`/run.json in one step and return its path.

    Raises:
        OSError: the folder cannot be written.
    """
    path = folder / "run.json"
    replace_file(path, render_json(run).encode(), durable=True)
    return path

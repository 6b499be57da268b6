"""Rendering of a run record: terminal, Markdown and HTML. No arithmetic beyond units."""

from pathlib import Path

from pipelines.files.atomic import replace_file
from pipelines.record.run import RunRecord


def write_report(run: RunRecord, folder: Path) -> Path:
    """Write run.json, report.md and report.html to `folder`, each in one step; return the HTML file's path.

    The same record gives the same bytes. Everything is rendered before anything is written.

    Raises:
        OSError: the folder cannot be written.
    """
    return write_rendered(render_report(run), folder)


def render_report(run: RunRecord) -> dict[str, str]:
    """Return the content of every file of a report, by name; the record first."""
    from pipelines.report import html, json, markdown

    return {
        "run.json": json.render_json(run),
        "report.md": markdown.render_markdown(run),
        "report.html": html.render_html(run),
    }


def write_rendered(texts: dict[str, str], folder: Path) -> Path:
    """Write what `render_report` gave; returns the HTML file's path.

    Raises:
        OSError: the folder cannot be written.
    """
    for name, text in texts.items():
        replace_file(folder / name, text.encode(), durable=True)
    return folder / "report.html"

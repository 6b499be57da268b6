"""Rendering of a run record: terminal, Markdown and HTML. No arithmetic beyond units."""

from pathlib import Path

from pipelines.record import RunRecord


def write_report(run: RunRecord, folder: Path) -> Path:
    """Write run.json, report.md and report.html to `folder`, each in one step; return the HTML file's path.

    The same record gives the same bytes. Everything is rendered before anything is written.

    Raises:
        OSError: the folder cannot be written.
    """
    from pipelines.report import files, html, json, markdown

    texts = {"report.md": markdown.render_markdown(run), "report.html": html.render_html(run)}
    json.write_run(run, folder)
    for name, text in texts.items():
        files.write_text(folder / name, text)
    return folder / "report.html"

"""Commands about runs that were: history, and runs list, show and prune."""

from pathlib import Path

import click

from pipelines.cli.command import command
from pipelines.cli.options import json_option, runs_option
from pipelines.cli.results import print_json, show_run


@command("tandem history digits_cnn --html history.html", guarded=False)
@click.argument("model")
@click.option("--measure", metavar="NAME", help="Show this measure alone, such as p99 or 'peak memory'.")
@click.option("--html", type=click.Path(dir_okay=False, path_type=Path), help="Also write a page of trends.")
@runs_option
@json_option
def history(model: str, measure: str | None, html: Path | None, runs: Path, as_json: bool) -> None:
    """Show every figure of MODEL over all complete runs, what changed in between, and which levels moved."""
    from pipelines.files.atomic import write_atomically
    from pipelines.history import html as page
    from pipelines.history import presentation, stage

    past = stage.history(model, runs, measure)
    if as_json:
        print_json(presentation.facts(past))
    else:
        presentation.print_history(past)
    if html is not None:
        write_atomically(html, page.render(past))


@click.group()
def runs() -> None:
    """List, show and remove runs on this disk."""


@command("tandem runs list", guarded=False)
@runs_option
@json_option
def list_runs(runs: Path, as_json: bool) -> None:
    """List the runs below a folder, the oldest first."""
    from pipelines.console import format as fmt
    from pipelines.console.printing import say
    from pipelines.history import runs as stage

    entries = stage.list_runs(runs)
    if as_json:
        print_json([vars(entry) | {"folder": str(entry.folder)} for entry in entries])
        return
    for entry in entries:
        facts = (entry.kind, entry.model, entry.status) if entry.problem is None else (entry.problem,)
        latest = ["latest"] if entry.is_latest else []
        text = "  ".join(filter(None, (*facts, *latest)))
        say(f"{entry.folder.name}  {fmt.size(entry.size_bytes):>9}  {fmt.one_line(text)}")
    if not entries:
        say(f"no runs in {runs}")


@command("tandem runs show runs/latest", guarded=False)
@click.argument("run", type=click.Path(path_type=Path), default=Path("runs/latest"))
@json_option
def show(run: Path, as_json: bool) -> None:
    """Print a RUN as its command did, without computing anything anew; `tandem report` does that."""
    from pipelines.run.rebuild import holding_together, read_coherent

    folder = run.parent if run.name == "run.json" else run
    record = read_coherent(folder)
    with holding_together(folder):
        show_run(record, folder, as_json)


@command("tandem runs prune --keep 10 --yes", guarded=False)
@click.option("--keep", type=int, help="Keep this many of the newest runs of each model.")
@click.option("--older-than", type=float, metavar="DAYS", help="Remove only runs older than this.")
@click.option("--model", help="Remove only runs of this model.")
@click.option("--yes", is_flag=True, help="Remove the runs; without it they are only named.")
@runs_option
@json_option
def prune(
    keep: int | None, older_than: float | None, model: str | None, yes: bool, runs: Path, as_json: bool
) -> None:
    """Remove old runs; the latest one and what cannot be read always stay."""
    from pipelines.console import format as fmt
    from pipelines.console.printing import say
    from pipelines.history import runs as stage

    entries = stage.list_runs(runs)
    chosen = stage.chosen_to_prune(entries, keep=keep, older_than_days=older_than, model=model)
    if yes:
        stage.prune(chosen)
    names = [entry.folder.name for entry in chosen]
    if as_json:
        print_json({"runs": names, "removed": yes})
        return
    for name in names:
        say(name)
    size = fmt.size(sum(entry.size_bytes for entry in chosen))
    done = f"removed, {size}" if yes else f"would be removed, {size}; --yes removes them"
    say(f"{len(names)} of {fmt.plural(len(entries), 'run')} {done}")


runs.add_command(list_runs, "list")
runs.add_command(show)
runs.add_command(prune)

"""The command that tests what articles say: claims."""

from pathlib import Path

import click

from pipelines.cli.command import command
from pipelines.cli.exits import EXIT_MACHINE, fail
from pipelines.cli.options import Folder, json_option
from pipelines.cli.results import print_json


@command("tandem claims --page docs/claims.md")
@click.option(
    "--runs",
    type=Folder(),
    default=Path("docs/claims"),
    show_default=True,
    help="Folder with a folder per condition that holds its run.json.",
)
@click.option(
    "--page", type=click.Path(dir_okay=False, path_type=Path), help="Also write the page, as Markdown."
)
@click.option("--measure", is_flag=True, help="First measure every condition without a run; takes hours.")
@click.option(
    "--again",
    metavar="KEYS",
    help="With --measure: conditions to measure anew, comma-separated, by their folders in --runs.",
)
@json_option
def claims(runs: Path, page: Path | None, measure: bool, again: str | None, as_json: bool) -> int:
    """Say which of the claims that articles repeat hold here, by runs of the commands that test them."""
    from pipelines.claims import page as pages
    from pipelines.claims import stage
    from pipelines.console.printing import ProgressDisplay, say
    from pipelines.files.atomic import write_atomically

    if again is not None:
        if not measure:
            raise click.UsageError("--again needs --measure.")
        stage.remove(runs, [key.strip() for key in again.split(",")])
    failed: tuple[str, ...] = ()
    if measure:
        with ProgressDisplay(quiet=as_json) as progress:
            failed = stage.measure_missing(runs, progress)
    judgements = stage.judge(runs)
    if page is not None:
        write_atomically(page, pages.render(judgements))
    if as_json:
        print_json(pages.facts(judgements))
    else:
        for judgement in judgements:
            say(pages.verdict_line(judgement))
    if failed:
        return fail(f"not measured, their commands failed: {', '.join(failed)}", EXIT_MACHINE)
    return 0

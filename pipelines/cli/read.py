"""Commands that read and start nothing: doctor, models, report."""

import json
from pathlib import Path

import click

from pipelines.cli.command import command
from pipelines.cli.exits import EXIT_MACHINE
from pipelines.cli.options import (
    artifacts_option,
    generator_core_option,
    json_option,
    server_cores_option,
)
from pipelines.cli.results import print_json, show_run


@command("tandem doctor", guarded=False)
@server_cores_option
@generator_core_option
@json_option
def doctor(server_cores: str | None, generator_core: str | None, as_json: bool) -> int:
    """Say what this machine can do, with the remedy for what it cannot, and which cores would do what."""
    from pipelines import doctor as stage
    from pipelines.cli import tables
    from pipelines.machine.cores import asked_cores

    checks = stage.examine(asked_cores(server_cores, generator_core))
    if as_json:
        print_json([vars(check) for check in checks])
    else:
        tables.print_checks(checks)
    return 0 if all(check.ok for check in checks if check.required) else EXIT_MACHINE


@command("tandem models", guarded=False)
@artifacts_option
@json_option
def models(artifacts: Path, as_json: bool) -> None:
    """List the models that ship with Tandem, and those that were imported."""
    from models.errors import ModelError
    from models.given import imported_names
    from models.spec import load_model, model_names
    from pipelines.cli import tables

    specs, damaged = [load_model(name) for name in model_names()], {}
    for name in imported_names(artifacts):
        try:
            specs.append(load_model(str(artifacts / name)))
        except ModelError as error:
            damaged[name] = str(error)
    if as_json:
        cannot = [{"name": name, "error": error} for name, error in damaged.items()]
        print_json([*map(tables.model_facts, specs), *cannot])
    else:
        tables.print_models(specs, damaged)


@command("tandem report runs/latest --open", guarded=False)
@click.argument("runs", metavar="[RUN]...", type=click.Path(path_type=Path), nargs=-1)
@click.option("--open", "open_it", is_flag=True, help="Open the page in a browser.")
@json_option
def report(runs: tuple[Path, ...], open_it: bool, as_json: bool) -> None:
    """Rebuild every figure and page of a RUN folder from its raw files; runs/latest if none is given.

    Several RUNs of one model: one page beside the newest, with their figures side by side.
    """
    first = runs[0] if runs else Path("runs/latest")
    page = _several(runs, as_json) if len(runs) > 1 else _one(first, as_json)
    if open_it:
        _open(page)


def _one(run: Path, as_json: bool) -> Path:
    from pipelines.run.rebuild import holding_together, rebuild

    record, folder = rebuild(run)
    with holding_together(folder):
        show_run(record, folder, as_json)
    return folder / "report.html"


def _several(runs: tuple[Path, ...], as_json: bool) -> Path:
    from pipelines.run import several

    read = several.read_several(runs)
    page = several.write_several(read)
    if as_json:
        print_json([json.loads(run.model_dump_json()) for run in read.runs])
        return page
    from pipelines.console.printing import result_console, say
    from pipelines.report.terminal import print_table

    for table in several.tables(read):
        print_table(table, result_console())
    say(f"\nReport: {page}")
    return page


def _open(page: Path) -> None:
    """Open the page; where there is no browser its path, which was printed, is for the user to open."""
    import webbrowser

    from pipelines.console.printing import complain

    if not webbrowser.open(page.resolve().as_uri()):
        complain(f"no browser could be started; open {page} by hand")

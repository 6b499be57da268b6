"""Commands that read and start nothing: doctor, models, report."""

from pathlib import Path

import click

from pipelines.cli.command import command
from pipelines.cli.exits import EXIT_MACHINE
from pipelines.cli.options import generator_core_option, json_option, server_cores_option
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
@json_option
def models(as_json: bool) -> None:
    """List the models that ship with Tandem."""
    from models.spec import load_model, model_names
    from pipelines.cli import tables

    specs = [load_model(name) for name in model_names()]
    if as_json:
        print_json([tables.model_facts(spec) for spec in specs])
    else:
        tables.print_models(specs)


@command("tandem report runs/latest", guarded=False)
@click.argument("run", type=click.Path(path_type=Path), default=Path("runs/latest"))
@json_option
def report(run: Path, as_json: bool) -> None:
    """Rebuild every figure and page of a RUN folder from its raw files."""
    from pipelines.run.rebuild import holding_together, rebuild

    record, folder = rebuild(run)
    with holding_together(folder):
        show_run(record, folder, as_json)

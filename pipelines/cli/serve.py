"""Commands that start servers and end them: serve, up, down, logs."""

import json
from typing import Any

import click

from pipelines.cli.command import command
from pipelines.cli.options import (
    artifacts_option,
    json_option,
    model_argument,
    model_option,
    preset_option,
    road_option,
    runner_option,
    set_option,
)
from pipelines.cli.results import print_json
from pipelines.console.printing import say

HIGHEST_PORT = 65_535


@command("tandem serve torchserve --port 8080")
@click.argument("target")
@model_option
@preset_option
@set_option
@road_option
@click.option(
    "--port",
    type=click.IntRange(0, HIGHEST_PORT),
    default=0,
    show_default=True,
    help="REST port; 0 picks a free one.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--server-cores",
    metavar="LIST",
    help="CPU cores that the server may use, such as 0-2 or 0,2-3.  [default: as many as its runner gives]",
)
@runner_option
@artifacts_option
@json_option
def serve(
    target: str,
    preset: str,
    changes: tuple[str, ...],
    server_cores: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Serve MODEL on TARGET until Ctrl-C."""
    from pipelines.cli import tables
    from pipelines.console.printing import ProgressDisplay
    from pipelines.machine.cores import asked_cores
    from pipelines.serve import stage
    from pipelines.targets.changes import change_targets
    from pipelines.targets.presets import resolve

    cores = asked_cores(server_cores).server if server_cores is not None else ()
    resolved = change_targets(resolve(preset, (target,)), changes)[target]
    request = stage.StandingRequest(target, preset=resolved, **options, cores=cores)
    with ProgressDisplay(quiet=as_json) as progress:

        def announce(stands: stage.Standing) -> None:
            progress.close()
            if as_json:
                click.echo(json.dumps(tables.standing_facts(stands)))
            else:
                tables.print_standing(stands)

        stage.serve(request, progress, announce)


@command("tandem up digits_cnn --locust tfserving")
@model_argument
@click.option("--targets", help="Comma-separated targets to start.  [default: torchserve,tfserving]")
@preset_option
@set_option
@click.option(
    "--locust", "load_target", metavar="TARGET", help="Add Locust with its web page, driving TARGET."
)
@click.option(
    "--prometheus", is_flag=True, help="Add Prometheus, scraping TorchServe and TensorFlow Serving."
)
@artifacts_option
@json_option
def up(preset: str, changes: tuple[str, ...], as_json: bool, targets: str | None, **options: Any) -> None:
    """Start servers of MODEL in containers that stand until `tandem down`."""
    from pipelines.console.printing import ProgressDisplay
    from pipelines.serve import stack
    from pipelines.targets.changes import change_targets
    from pipelines.targets.presets import resolve
    from pipelines.targets.registry import COMPARED, find_target

    names = tuple(part.strip() for part in targets.split(",")) if targets else COMPARED
    for name in names:
        find_target(name)
    presets = change_targets(resolve(preset, names), changes)
    request = stack.UpRequest(targets=tuple(dict.fromkeys(names)), presets=presets, **options)
    with ProgressDisplay(quiet=as_json) as progress:
        stands = stack.up(request, progress)
    if as_json:
        print_json(vars(stands))
        return
    say(f"{stands.project} is running; every server answered a sample correctly. `tandem down` stops it.")
    for name, address in stands.addresses.items():
        say(f"  {name:<20} {address}")


@command("tandem down", guarded=False)
@click.argument("project", required=False)
@json_option
def down(project: str | None, as_json: bool) -> None:
    """Stop and remove the stack PROJECT, or all that this user started here with `tandem up`."""
    from pipelines.console.printing import ProgressDisplay
    from pipelines.serve import stack

    with ProgressDisplay(quiet=as_json) as progress:
        removed = stack.down(project, progress)
    if as_json:
        print_json(removed)
    else:
        say(f"removed: {', '.join(removed) or 'nothing, no stack of this user was running'}")


@command("tandem logs --lines 20", guarded=False)
@click.argument("project", required=False)
@click.option("--lines", default=100, show_default=True, type=click.IntRange(1, 10**6), help="Per container.")
@json_option
def logs(project: str | None, lines: int, as_json: bool) -> None:
    """Print the last lines of every container of the stack PROJECT, or of all this user's."""
    from pipelines.serve import stack

    texts = stack.logs(project, lines)
    if as_json:
        print_json(texts)
        return
    for name, text in texts.items():
        say(f"==> {name} <==\n{text.rstrip()}\n")

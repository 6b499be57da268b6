"""tandem tune: options, and what they were when a search goes on."""

from pathlib import Path
from typing import Any

import click

from pipelines.cli.command import command
from pipelines.cli.exits import EXIT_GATE, EXIT_MACHINE, fail
from pipelines.cli.options import (
    artifacts_option,
    generator_core_option,
    json_option,
    model_argument,
    output_option,
    road_option,
    runner_option,
    runs_option,
    server_cores_option,
    set_option,
)
from pipelines.cli.results import command_line, end_run, failure_written

NOT_KEPT = ("resume", "as_json", "force", "outputs")
"""Options that say what to do with a search that goes on; all others are those it began with."""


@command("tandem tune digits_cnn --sides torchserve --p99-ms 20")
@model_argument
@click.option(
    "--p99-ms",
    "p99_limit_ms",
    type=float,
    help="Limit of the 99th percentile, ms.  [required without --resume]",
)
@click.option(
    "--sides",
    metavar="SIDES",
    help="What is tuned, comma-separated, each target once: TARGET[:PRESET][:rest|:grpc][:BODY]. The search "
    "starts from the preset.  [required without --resume]",
)
@click.option(
    "--preset",
    default="tuned",
    show_default=True,
    metavar="NAME|FILE",
    help="Where the search starts for sides that name no preset; settings that it does not vary stay so.",
)
@set_option
@click.option(
    "--within", default="15min", show_default=True, metavar="TIME", help="Time for the whole search, at most."
)
@click.option(
    "--write",
    "preset_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Where the preset is written.  [default: MODEL-tuned.toml]",
)
@click.option("--force", is_flag=True, help="Replace the preset's file if it is there.")
@click.option(
    "--resume",
    type=click.Path(path_type=Path),
    metavar="RUN",
    help="Continue an interrupted search, with its own options.",
)
@click.option("--profile", default="quick", show_default=True, help="smoke, quick or full.")
@click.option("--rows", type=int, help="Samples that every request asks about.  [default: 1]")
@click.option("--round-s", type=float, help="Least length of each measured round, seconds.")
@click.option(
    "--seed",
    type=click.IntRange(0, 2**63 - 1),
    default=20,
    show_default=True,
    help="Seed of everything random.",
)
@click.option(
    "--pool-mb", type=float, help="Size of all different requests and answers, MB; 16 if not given."
)
@road_option
@server_cores_option
@generator_core_option
@runner_option
@artifacts_option
@runs_option
@output_option
@json_option
@click.pass_context
def tune(context: click.Context, /, **options: Any) -> int:
    """Search the configuration of MODEL's servers that sustains most with p99 within a limit.

    Workers, threads, batches and delays are tried on servers of their own; the best is then compared with the
    preset `default` and with where the search started, on fresh servers, and written as a preset's file.
    """
    from pipelines.config.asked import parse_duration, run_settings
    from pipelines.console.printing import ProgressDisplay
    from pipelines.outputs.asked import asked_outputs
    from pipelines.report.tune import not_measured
    from pipelines.runners.choice import settled
    from pipelines.tune.stage import TuneRequest
    from pipelines.tune.stage import tune as stage

    typed = _asked(context, options)
    wanted = asked_outputs(options["outputs"])
    kept_options = {name: str(value) if isinstance(value, Path) else value for name, value in typed.items()}
    request = TuneRequest(
        p99_limit_ms=typed.pop("p99_limit_ms"),
        within_s=parse_duration(typed.pop("within"), "--within"),
        preset_file=Path(typed.pop("preset_file")),
        force=options["force"],
        options=kept_options,
        resume=options["resume"],
    )
    as_json = options["as_json"]
    with failure_written("tune", typed["model"], wanted):
        settings = run_settings(**typed)
        with ProgressDisplay(quiet=as_json) as progress, settled(settings, progress) as (chosen, runner):
            run, folder = stage(request, chosen, runner, command_line(), progress)
    code = end_run(run, folder, as_json, wanted)
    sides = run.tune.sides if run.tune else {}
    without = [name for name, side in sides.items() if side.winner is None]
    if code or not without:
        return code
    lost = all(not_measured(sides[name]) for name in without)
    problem = "could be measured" if lost else "has a rate that keeps the limit"
    page = folder / "report.html"
    return fail(
        f"no configuration of {' and '.join(without)} {problem}; why stands with each in {page}",
        EXIT_MACHINE if lost else EXIT_GATE,
    )


def _asked(context: click.Context, options: dict[str, Any]) -> dict[str, Any]:
    """Return the options of a search: as they were typed, or as they were when it began."""
    typed = {name: value for name, value in options.items() if name not in NOT_KEPT}
    if options["resume"] is not None:
        return _as_it_began(context, typed, options["resume"])
    for name, flag in (("sides", "--sides torchserve"), ("p99_limit_ms", "--p99-ms 20")):
        if typed[name] is None:
            raise click.UsageError(f"Missing option, such as {flag}.", context)
    typed["preset_file"] = typed["preset_file"] or Path(f"{Path(typed['model']).stem}-tuned.toml")
    return typed


def _as_it_began(context: click.Context, options: dict[str, Any], folder: Path) -> dict[str, Any]:
    from pipelines.errors import RequestError
    from pipelines.tune.resume import read_search

    typed = [
        name
        for name in options
        if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
    ]
    if typed:
        raise click.UsageError(
            f"--resume goes on with the options that the search began with; leave out {', '.join(typed)}.",
            context,
        )
    search = read_search(folder).tune
    recorded_options = dict(search.options) if search else {}
    if recorded_options.keys() != options.keys():
        missing = ", ".join(sorted(options.keys() ^ recorded_options.keys()))
        raise RequestError(
            f"--resume {folder}: it was begun by another version of Tandem ({missing}); start a new search"
        )
    return recorded_options

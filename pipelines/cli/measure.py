"""Commands that deploy and measure: compare, slo, smoke."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import click

from pipelines.cli.command import command
from pipelines.cli.exits import EXIT_GATE, fail
from pipelines.cli.options import (
    artifacts_option,
    endpoint_options,
    former_sides_option,
    generator_core_option,
    json_option,
    model_argument,
    preset_option,
    road_option,
    run_options,
    runs_option,
    server_cores_option,
    set_option,
)
from pipelines.cli.results import command_line, end_run, failure_written, print_json


@command("tandem compare digits_cnn --profile smoke")
@model_argument
@run_options
@endpoint_options
@click.option(
    "--rounds", type=int, help="Measured rounds per block, load and target.  [default: the profile's]"
)
@click.option(
    "--loads",
    help="Comma-separated closed:CONCURRENCY or open:RATE, such as closed:8,open:200.  "
    "[default: the profile's]",
)
@click.option(
    "--decide-within",
    metavar="TIME",
    help="Add blocks until the primary metric is decided, within a time such as 20min; not with --blocks.",
)
@click.option(
    "--margin", type=float, default=0.05, show_default=True, help="Relative difference that does not matter."
)
@click.option(
    "--primary",
    type=click.Choice(["p50", "p95", "p99", "throughput"]),
    default="p99",
    show_default=True,
    help="The metric to decide by; verdicts on the others are corrected for their number.",
)
@click.option(
    "--mobile/--no-mobile",
    default=True,
    show_default=True,
    help="Include the artifacts for devices; what was measured before is not measured again, and the "
    "profile smoke measures none.",
)
def compare(as_json: bool, **options: Any) -> int:
    """Serve MODEL on every target, prove the answers, measure under load, and say what differs."""
    from pipelines.compare.stage import compare as stage

    return _measure("compare", stage, as_json=as_json, **options)


@command("tandem slo digits_cnn --p99-ms 20")
@model_argument
@click.option("--p99-ms", "p99_limit_ms", type=float, required=True, help="Limit of the 99th percentile, ms.")
@click.option(
    "--hourly-price", type=float, help="Price of the machine per hour; adds the cost of a million inferences."
)
@run_options
@endpoint_options
def slo(as_json: bool, p99_limit_ms: float, hourly_price: float | None, **options: Any) -> int:
    """Find the highest rate of requests that each target serves with p99 within a limit."""
    from pipelines.compare.slo import QUICK_BLOCKS, SloQuestion, search_slo

    if options["profile"] == "quick" and options["blocks"] is None:
        options["blocks"] = QUICK_BLOCKS
    question = SloQuestion(p99_limit_ms, hourly_price)
    return _measure("slo", partial(search_slo, question), as_json=as_json, **options)


@command("tandem smoke digits_cnn --junit smoke.xml --summary smoke.md")
@model_argument
@click.option(
    "--runner", default="docker", show_default=True, help="Where servers live: docker, local or auto."
)
@click.option(
    "--sides",
    "targets",
    default="torchserve,tfserving",
    show_default=True,
    help="What is checked, comma-separated: served targets, which are deployed for it, and servers that run "
    "already, as [NAME=]API+SCHEME://HOST[:PORT]/…MODEL.",
)
@former_sides_option
@preset_option
@endpoint_options
@click.option(
    "--timeout-s",
    type=click.FloatRange(min=0.01, max=86_400),
    help="A request to a running endpoint without an answer by then has failed, seconds; 10 if not given.",
)
@set_option
@click.option("--junit", type=click.Path(dir_okay=False, path_type=Path), help="Also write JUnit XML here.")
@click.option(
    "--summary", type=click.Path(dir_okay=False, path_type=Path), help="Also write the Markdown summary here."
)
@road_option
@server_cores_option
@generator_core_option
@artifacts_option
@runs_option
@json_option
def smoke(
    as_json: bool,
    model: str,
    targets: str,
    preset: str,
    changes: tuple[str, ...],
    server_cores: str | None,
    generator_core: str | None,
    **options: Any,
) -> int:
    """Deploy MODEL on every target, check all that a deployment must do, and take it down again."""
    from pipelines.console.printing import ProgressDisplay
    from pipelines.machine.cores import asked_cores
    from pipelines.smoke import presentation, stage
    from pipelines.smoke.endpoints import smoke_sides
    from pipelines.targets.changes import change_targets
    from pipelines.targets.presets import resolve

    names, running = smoke_sides(targets, options)
    if not names:
        options["runner"] = "local"  # nothing is started, so that no engine is needed
    cores = asked_cores(server_cores, generator_core)
    presets = change_targets(resolve(preset, names), changes)
    request = stage.SmokeRequest(model, names, presets=presets, cores=cores, running=running, **options)
    with ProgressDisplay(quiet=as_json) as progress:
        result = stage.smoke(request, progress)
    if as_json:
        print_json(presentation.facts(result))
    else:
        presentation.print_result(result)
    if result.failures:
        return fail(presentation.verdict(result), EXIT_GATE)
    return 0


def _measure(
    kind: str,
    stage: Callable[..., Any],
    *,
    as_json: bool,
    outputs: tuple[str, ...],
    tensorboard: Path | None,
    **options: Any,
) -> int:
    from pipelines.config.asked import run_settings
    from pipelines.console.printing import ProgressDisplay
    from pipelines.outputs.asked import asked_outputs
    from pipelines.runners.choice import settled
    from pipelines.tensorboard.stage import require_writer

    wanted = asked_outputs(outputs)
    require_writer(tensorboard)
    with failure_written(kind, options["model"], wanted, tensorboard):
        requested = run_settings(**options)
        with ProgressDisplay(quiet=as_json) as progress, settled(requested, progress) as (settings, runner):
            run, folder = stage(settings, runner, command_line(), progress)
    return end_run(run, folder, as_json, wanted, tensorboard)

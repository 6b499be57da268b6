"""Options and arguments that several commands take."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

Command = Callable[..., Any]


class Folder(click.Path):
    """A folder that is there or can be made."""

    def __init__(self) -> None:
        super().__init__(file_okay=False, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path, after checking that every existing part of it is a folder or a link to one."""
        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        there = next((part for part in (path, *path.parents) if os.path.lexists(part)), Path())
        if not there.is_dir():
            self.fail(f"{str(there)!r} is no folder, or a link that leads to none; name another.", param, ctx)
        return path


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs, nothing else.")
artifacts_option = click.option(
    "--artifacts",
    type=Folder(),
    default=Path("artifacts"),
    show_default=True,
    # Before the model: an imported one is looked for there.
    is_eager=True,
    help="Folder that holds exported artifacts.",
)
runs_option = click.option(
    "--runs",
    type=Folder(),
    default=Path("runs"),
    show_default=True,
    help="Folder that holds runs.",
)
output_option = click.option(
    "--output",
    "outputs",
    multiple=True,
    metavar="FORMAT=FILE",
    help="Also write the result to FILE as junit, markdown, bencher, benchmark-smaller, benchmark-bigger or "
    "openmetrics; may be repeated.",
)
tensorboard_option = click.option(
    "--tensorboard",
    type=Folder(),
    metavar="DIR",
    help="Also write the run for TensorBoard, into a folder of its name below DIR.",
)
road_option = click.option(
    "--road",
    metavar="ROAD",
    help="How the model gets into TensorFlow's formats: twin, torchax, litert, onnx2tf, or auto for the "
    "first that takes it.  [default: as last exported, else auto]",
)
force_option = click.option("--force", is_flag=True, help="Export again even if nothing changed.")


def _found(ctx: click.Context, param: click.Parameter, value: str) -> str:  # noqa: ARG001 - click's signature
    """Return the folder of an imported model given by name; print on stderr what its reference is."""
    from models.given import folder_of, read_given
    from models.spec import model_names
    from pipelines.console.printing import complain

    if value.endswith(".py") or value in model_names():
        return value
    within = ctx.params.get("artifacts", Path("artifacts")) / value
    folder = (folder_of(str(within)) if Path(value).name == value else None) or folder_of(value)
    if folder is None:
        return value
    for note in read_given(folder).notes:
        complain(f"note: {value}: {note}")
    return str(folder.parent)


model_argument = click.argument("model", default="digits_cnn", callback=_found)
model_option = click.option(
    "--model",
    default="digits_cnn",
    show_default=True,
    callback=_found,
    help="Name of a model, or a .py file.",
)
runner_option = click.option(
    "--runner",
    default="local",
    show_default=True,
    help="Where servers live: local (processes), docker (containers) or auto (containers if available).",
)

server_cores_option = click.option(
    "--server-cores",
    metavar="LIST",
    envvar="TANDEM_SERVER_CORES",
    show_envvar=True,
    help="CPU cores that the server may use, such as 0-2 or 0,2-3.  [default: see `tandem doctor`]",
)
generator_core_option = click.option(
    "--generator-core",
    metavar="CORE",
    envvar="TANDEM_GENERATOR_CORE",
    show_envvar=True,
    help="The CPU core of the load generator.  [default: see `tandem doctor`]",
)


def _renamed(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    """Refuse the option's spelling of earlier versions, with the one that replaced it."""
    if value is not None:
        raise click.UsageError(f"{param.opts[0]} is called --sides here: --sides {value}.", ctx)


sides_option = click.option(
    "--sides",
    default="torchserve,tfserving",
    show_default=True,
    metavar="SIDES",
    help="What is compared, comma-separated: every pair of `compare`, the first two of `slo`. "
    "[NAME=]TARGET[:PRESET][:rest|:grpc][:BODY], such as torchserve:tuned,tfserving:grpc; the same "
    "one twice is an A/A test. Or builds: base=ARTIFACTS_DIR,new=ARTIFACTS_DIR, a folder as "
    "`tandem export --artifacts` writes it, or TARGET@DIR for one of its targets. Or servers that run "
    "already: [NAME=]API+SCHEME://HOST[:PORT]/…MODEL[#BODY], such as "
    "today=tfserving+http://HOST:8501/v1/models/m; APIs are tfserving, torchserve and oip, over http, https, "
    "grpc or grpcs, and plain, over http or https.",
)
former_sides_option = click.option(
    "--targets",
    "former",
    hidden=True,
    expose_value=False,
    callback=_renamed,
    help="Former spelling of --sides.",
)


preset_option = click.option(
    "--preset",
    default="default",
    show_default=True,
    metavar="NAME|FILE",
    help="Server configuration where nothing else is named: default, tuned, or a .toml file with a table per "
    "target.",
)


set_option = click.option(
    "--set",
    "changes",
    multiple=True,
    metavar="[SIDE.]KEY=VALUE",
    help="Change one setting of a side, such as torchserve.default_workers_per_model=2, by the name that its "
    "server gives it; may be repeated.",
)


def endpoint_options(function: Command) -> Command:
    """Add the options for running endpoints."""
    options = (
        click.option(
            "--header",
            "headers",
            multiple=True,
            metavar="'[SIDE=]NAME: VALUE'",
            help="Header sent to running endpoints with every request, or to SIDE alone; may be repeated. If "
            "the last word of VALUE is env:VARIABLE or file:PATH, its content is sent and never recorded.",
        ),
        click.option(
            "--ca-file",
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            help="PEM file of the authorities that vouch for running endpoints over https and grpcs.",
        ),
        click.option("--insecure", is_flag=True, help="Do not verify the certificates of running endpoints."),
        click.option(
            "--max-rate",
            "max_rate_per_s",
            type=click.FloatRange(min=0.01, max=10**7),
            metavar="REQUESTS_PER_S",
            help="Requests per second that a running endpoint gets at most.",
        ),
        click.option(
            "--yes",
            is_flag=True,
            help="Confirm that you may load the addresses outside this machine that --sides names.",
        ),
    )
    for option in reversed(options):
        function = option(function)
    return function


def run_options(function: Command) -> Command:
    """Add the options that every measuring command takes."""
    options = (
        click.option(
            "--profile",
            default="quick",
            show_default=True,
            help="smoke, quick or full; how much each measures is in the README.",
        ),
        sides_option,
        former_sides_option,
        preset_option,
        set_option,
        click.option("--rows", type=int, help="Samples that every request asks about.  [default: 1]"),
        click.option(
            "--blocks", type=int, help="Times that all servers are started afresh.  [default: the profile's]"
        ),
        click.option(
            "--round-s", type=float, help="Length of each measured round, seconds.  [default: the profile's]"
        ),
        click.option(
            "--seed",
            type=click.IntRange(0, 2**63 - 1),
            default=20,
            show_default=True,
            help="Seed of everything random.",
        ),
        click.option(
            "--allow-asymmetry",
            "allowed_asymmetries",
            multiple=True,
            metavar="FIELD",
            help="Compare although FIELD differs between the sides; it is printed beside the result. Fields: "
            "cores, cpus, memory_limit_bytes, runner, preset, protocol, body, payload_rows, payload_bytes, "
            "model_digest.",
        ),
        click.option(
            "--pool-mb",
            type=float,
            help="Size of all different requests and their expected answers together, MB; 16 if not given. "
            "Of a model with large inputs fewer held-out samples are sent, spread evenly over the set.",
        ),
        click.option(
            "--timeout-s",
            type=click.FloatRange(min=0.01, max=86_400),
            help="A request without an answer by then has failed, seconds; 10 if not given.",
        ),
        road_option,
        server_cores_option,
        generator_core_option,
        runner_option,
        artifacts_option,
        runs_option,
        output_option,
        tensorboard_option,
        json_option,
    )
    for option in reversed(options):
        function = option(function)
    return function

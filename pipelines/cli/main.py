"""`tandem …`: parses, calls a stage, prints, maps errors to exit codes. Imports nothing heavy at the top."""

import errno
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import click

from pipelines.console import output
from pipelines.console.printing import complain, flush_output, open_closed_streams, say
from pipelines.errors import UserError

EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells have it
EXIT_GATE = 1
EXIT_REQUEST = 2
EXIT_MACHINE = 3
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)

Command = Callable[..., Any]


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit: 0 done, 1 a gate said no, 2 wrong request, 3 unable."""
    open_closed_streams()
    if arguments is None:
        output.prepare()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    code = _run(arguments)
    problem = flush_output()
    sys.exit(_fail(problem, EXIT_MACHINE) if problem else code)


def _interrupt(number: int, frame: object) -> None:  # noqa: ARG001 - a signal handler's signature
    raise KeyboardInterrupt


def _run(arguments: Sequence[str] | None) -> int:
    try:
        return _carry_out(arguments)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return EXIT_REQUEST
    except (KeyboardInterrupt, click.Abort):
        return _fail("interrupted; everything it started has been ended", EXIT_INTERRUPTED)
    except (UserError, click.ClickException, OSError) as error:
        return _fail(*_explain(error))
    except (MemoryError, ImportError, SystemError) as error:
        return _fail(_explain_load(error), EXIT_MACHINE)
    except Exception as error:  # noqa: BLE001 - the last line of defence
        return _fail(_explain_fault(error), EXIT_MACHINE)


def _carry_out(arguments: Sequence[str] | None) -> int:
    from loadtests.errors import LoadTestError
    from models.spec import ModelError
    from pipelines.tasks.failures import as_user_error

    try:
        return int(tandem.main(args=arguments, prog_name="tandem", standalone_mode=False) or 0)
    except (ModelError, LoadTestError) as error:
        raise as_user_error(error) or error from error


def _explain(error: Exception) -> tuple[str, int]:
    """The line to print and the exit code."""
    from pipelines.files.atomic import where_it_is_full

    if isinstance(error, UserError):
        return str(error), error.exit_code
    if isinstance(error, click.ClickException):
        return _usage(error), EXIT_REQUEST
    if isinstance(error, OSError):
        # Of the two files of a copy, a full disk is where the second one is.
        name = error.filename2 if error.errno in DISK_FULL and error.filename2 else error.filename
        return f"{error.strerror or error}: {name or where_it_is_full()}", EXIT_MACHINE
    return str(error), EXIT_REQUEST


def _explain_load(error: MemoryError | ImportError | SystemError) -> str:
    """Too little memory shows in either way: a library that finds no room cannot be loaded."""
    if isinstance(error, MemoryError):
        return (
            f"out of memory ({str(error) or 'there is no more'}); free some, or raise the limit (ulimit -v)"
        )
    return f"a library cannot be loaded: {error}; free memory, or run `make setup` if it is missing"


def _explain_fault(error: Exception) -> str:
    from pipelines.console.trace import keep_trace

    said = f"{type(error).__name__}: {error}"
    return f"a fault of Tandem's own, {said}; its trace is in {keep_trace(error)}"


def _usage(error: click.ClickException) -> str:
    context = getattr(error, "ctx", None)
    path = context.command_path if context else "tandem"
    return f"{error.format_message()} See `{path} --help`."


def _fail(message: str, exit_code: int) -> int:
    complain(f"tandem: {' '.join(message.split())}")
    return exit_code


def _example(text: str) -> dict[str, str]:
    return {"epilog": f"Example: {text}"}


def _print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2))


class _Folder(click.Path):
    """A folder that is there or can be made."""

    def __init__(self) -> None:
        super().__init__(file_okay=False, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path; what is on the way to it must be folders, and links that lead to some."""
        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        there = next((part for part in (path, *path.parents) if os.path.lexists(part)), Path())
        if not there.is_dir():
            self.fail(f"{str(there)!r} is no folder, or a link that leads to none; name another.", param, ctx)
        return path


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs, nothing else.")
artifacts_option = click.option(
    "--artifacts",
    type=_Folder(),
    default=Path("artifacts"),
    show_default=True,
    help="Folder that holds exported artifacts.",
)
runs_option = click.option(
    "--runs",
    type=_Folder(),
    default=Path("runs"),
    show_default=True,
    help="Folder that holds runs.",
)
force_option = click.option("--force", is_flag=True, help="Export again even if nothing changed.")
model_argument = click.argument("model", default="digits_cnn")
runner_option = click.option(
    "--runner",
    default="local",
    show_default=True,
    help="Where servers live: local (processes), docker (containers) or auto (containers if to be had).",
)

server_cores_option = click.option(
    "--server-cores",
    metavar="LIST",
    help="CPU cores that the server may use, such as 0-2 or 0,2-3.  [default: see `tandem doctor`]",
)
generator_core_option = click.option(
    "--generator-core",
    metavar="CORE",
    help="The CPU core of the load generator.  [default: see `tandem doctor`]",
)


class _Guarded(click.Command):
    """A command that starts processes: all it starts is ended and removed, also if it is killed."""

    def invoke(self, ctx: click.Context) -> Any:
        """Carry it out beside a guard."""
        from pipelines.processes.guard import guarded

        with guarded():
            return super().invoke(ctx)


class _Commands(click.Group):
    """Commands are guarded unless they say `cls=click.Command`."""

    command_class = _Guarded


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 done; 1 a gate said no; 2 the request was wrong; 3 the machine or a server was "
    "not able; 130 interrupted.",
)
@click.version_option(package_name="tandem-serving", prog_name="tandem")
def tandem() -> None:
    """Take one trained model down the PyTorch and the TensorFlow road, serve both, and compare them."""


@tandem.command(cls=click.Command, **_example("tandem doctor"))
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
        _print_json([vars(check) for check in checks])
    else:
        tables.print_checks(checks)
    return 0 if all(check.ok for check in checks if check.required) else EXIT_MACHINE


@tandem.command(cls=click.Command, **_example("tandem models"))
@json_option
def models(as_json: bool) -> None:
    """List the models that ship with Tandem."""
    from models.spec import load_model, model_names
    from pipelines.cli import tables

    specs = [load_model(name) for name in model_names()]
    if as_json:
        _print_json([tables.model_facts(spec) for spec in specs])
    else:
        tables.print_models(specs)


@tandem.command(**_example("tandem train digits_cnn"))
@model_argument
@json_option
def train(model: str, as_json: bool) -> None:
    """Train MODEL from scratch and replace its checkpoint and training record."""
    from pipelines.cli import tables
    from pipelines.console.printing import ProgressDisplay
    from pipelines.train import stage as training

    with ProgressDisplay(quiet=as_json) as progress:
        outcome = training.train(model, progress)
    if as_json:
        _print_json(outcome.record | {"reproduced": outcome.reproduced})
    else:
        tables.print_training(outcome)


@tandem.command(**_example("tandem export digits_cnn --targets torchserve,tflite"))
@model_argument
@click.option("--targets", help="Comma-separated targets to export.  [default: all of them]")
@artifacts_option
@force_option
@json_option
def export(model: str, targets: str | None, artifacts: Path, force: bool, as_json: bool) -> None:
    """Export MODEL to every target, the frameworks at the same time in processes of their own."""
    from pipelines.cli import tables
    from pipelines.console.printing import ProgressDisplay
    from pipelines.export import stage as exporting

    chosen = exporting.chosen_targets(targets)
    with ProgressDisplay(quiet=as_json) as progress:
        result = exporting.export(model, artifacts, progress, targets=chosen, force=force)
    if as_json:
        _print_json(tables.export_facts(result))
    else:
        tables.print_export(result)


@tandem.command(**_example("tandem verify digits_cnn"))
@model_argument
@artifacts_option
@json_option
def verify(model: str, artifacts: Path, as_json: bool) -> None:
    """Compare every artifact of MODEL, reloaded from disk, with the source model on all held-out samples."""
    from pipelines.cli import tables
    from pipelines.console.printing import ProgressDisplay
    from pipelines.verify import stage as verifying

    with ProgressDisplay(quiet=as_json) as progress:
        verified = verifying.verify(model, artifacts, progress)
    if as_json:
        _print_json(tables.parity_facts(verified))
    else:
        tables.print_parity(verified)
    verifying.require(verified)


@tandem.command(**_example("tandem serve torchserve --port 8080"))
@click.argument("target")
@click.option("--model", default="digits_cnn", show_default=True, help="Name of a model, or a .py file.")
@click.option(
    "--preset", default="default", show_default=True, help="Server configuration: default or tuned."
)
@click.option("--port", default=0, show_default=True, help="REST port; 0 picks a free one.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--server-cores",
    metavar="LIST",
    help="CPU cores that the server may use, such as 0-2 or 0,2-3.  [default: as many as its runner gives]",
)
@runner_option
@artifacts_option
@json_option
def serve(server_cores: str | None, as_json: bool, **options: Any) -> None:
    """Serve MODEL on TARGET until Ctrl-C."""
    from pipelines.cli import tables
    from pipelines.console.printing import ProgressDisplay
    from pipelines.machine.cores import asked_cores
    from pipelines.serve import stage as standing

    cores = asked_cores(server_cores).server if server_cores is not None else ()
    request = standing.StandingRequest(**options, cores=cores)
    with ProgressDisplay(quiet=as_json) as progress:

        def announce(stands: standing.Standing) -> None:
            progress.close()
            if as_json:
                click.echo(json.dumps(tables.standing_facts(stands)))
            else:
                tables.print_standing(stands)

        standing.serve(request, progress, announce)


def _renamed(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    """Refuse the option's spelling of earlier versions, with the one that replaced it."""
    if value is not None:
        raise click.UsageError(f"{param.opts[0]} is called --sides here: --sides {value}.", ctx)


sides_option = click.option(
    "--sides",
    "targets",
    default="torchserve,tfserving",
    show_default=True,
    help="What is compared: served targets, comma-separated, the first against the others; one twice is "
    "an A/A test.",
)
former_sides_option = click.option(
    "--targets",
    "former",
    hidden=True,
    expose_value=False,
    callback=_renamed,
    help="Former spelling of --sides.",
)


def run_options(function: Command) -> Command:
    """What every measuring command takes."""
    options = (
        click.option("--profile", default="quick", show_default=True, help="smoke, quick or full."),
        sides_option,
        former_sides_option,
        click.option(
            "--preset", default="default", show_default=True, help="Server configuration: default or tuned."
        ),
        click.option("--blocks", type=int, help="Times that all servers are started afresh."),
        click.option("--round-s", type=float, help="Length of each measured round, seconds."),
        click.option(
            "--seed",
            type=click.IntRange(0, 2**63 - 1),
            default=20,
            show_default=True,
            help="Of everything random.",
        ),
        click.option(
            "--allow-asymmetry",
            "allowed_asymmetries",
            multiple=True,
            metavar="FIELD",
            help="Compare although FIELD differs between the sides; it is printed beside the result.",
        ),
        server_cores_option,
        generator_core_option,
        runner_option,
        artifacts_option,
        runs_option,
        json_option,
    )
    for option in reversed(options):
        function = option(function)
    return function


@tandem.command(**_example("tandem compare digits_cnn --profile smoke"))
@model_argument
@run_options
@click.option("--rounds", type=int, help="Measured rounds per block, load and target.")
@click.option("--loads", help="Comma-separated closed:CONCURRENCY or open:RATE, such as closed:8,open:200.")
@click.option("--margin", type=float, default=0.05, show_default=True, help="Differences within it are none.")
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

    return _measure(stage, as_json=as_json, **options)


@tandem.command(**_example("tandem slo digits_cnn --p99-ms 20"))
@model_argument
@click.option("--p99-ms", "p99_limit_ms", type=float, required=True, help="Limit of the 99th percentile, ms.")
@click.option("--hourly-price", type=float, help="Of the machine; adds the cost of a million inferences.")
@run_options
def slo(as_json: bool, p99_limit_ms: float, hourly_price: float | None, **options: Any) -> int:
    """Find the highest rate of requests that each target serves with p99 within a limit."""
    from pipelines.compare.slo import QUICK_BLOCKS, SloQuestion, search_slo

    if options["profile"] == "quick" and options["blocks"] is None:
        options["blocks"] = QUICK_BLOCKS
    question = SloQuestion(p99_limit_ms, hourly_price)
    return _measure(partial(search_slo, question), as_json=as_json, **options)


def _measure(stage: Callable[..., Any], *, as_json: bool, **options: Any) -> int:
    from pipelines.config import run_settings
    from pipelines.console.printing import ProgressDisplay
    from pipelines.runners.choosing import settled

    asked = run_settings(**options)
    with ProgressDisplay(quiet=as_json) as progress, settled(asked, progress) as (settings, runner):
        run, folder = stage(settings, runner, _command_line(), progress)
    return _end(run, folder, as_json)


def _end(run: Any, folder: Path, as_json: bool) -> int:
    """Show a finished run; the exit code that its status asks for."""
    _show(run, folder, as_json)
    if run.status == "interrupted":
        return _fail(f"{run.status_reason}; what was measured is kept in {folder}", EXIT_INTERRUPTED)
    return 0


@tandem.command(**_example("tandem mobile digits_cnn --max-accuracy-drop 0.01 --max-bytes 4MB"))
@model_argument
@click.option(
    "--max-accuracy-drop",
    type=float,
    default=0.01,
    show_default=True,
    help="Share of held-out samples that an artifact may lose against the source model, 0 to 1.",
)
@click.option("--max-bytes", metavar="SIZE", help="Largest file to ship, such as 4MB, 4MiB, 500kB or 80000.")
@click.option("--targets", help="Only these, comma-separated: tflite, executorch, onnx. Default: all.")
@artifacts_option
@runs_option
@force_option
@json_option
def mobile(
    model: str,
    max_accuracy_drop: float,
    max_bytes: str | None,
    targets: str | None,
    artifacts: Path,
    runs: Path,
    force: bool,
    as_json: bool,
) -> int:
    """Measure every artifact of MODEL that a device could run, and choose the smallest that is good enough.

    Sizes, accuracy against the source model, latency and memory, each in processes of its own, one after
    another, on the CPU of this host: not a phone.

    Exit code 1 when an artifact loses more accuracy than allowed or does not run, or when none is left within
    all limits. An artifact that is merely larger than --max-bytes is not chosen, and that is all.
    """
    from pipelines.config import MobileSettings, mobile_limits
    from pipelines.console.printing import ProgressDisplay
    from pipelines.export.stage import chosen_targets
    from pipelines.mobile import stage
    from pipelines.targets.registry import IN_PROCESS

    limits = mobile_limits(max_accuracy_drop, max_bytes)
    settings = MobileSettings(
        model=model,
        limits=limits,
        targets=chosen_targets(targets, IN_PROCESS),
        force=force,
        artifacts=artifacts,
        runs=runs,
    )
    with ProgressDisplay(quiet=as_json) as progress:
        run, folder = stage.measure_mobile(settings, _command_line(), progress)
    ended = _end(run, folder, as_json)
    if ended == 0:
        stage.require_gate(run)
    return ended


@tandem.command(**_example("tandem smoke digits_cnn --junit smoke.xml --summary smoke.md"))
@model_argument
@click.option(
    "--runner", default="docker", show_default=True, help="Where servers live: docker, local or auto."
)
@click.option(
    "--sides",
    "targets",
    default="torchserve,tfserving",
    show_default=True,
    help="What is deployed and checked: served targets, comma-separated.",
)
@former_sides_option
@click.option(
    "--preset", default="default", show_default=True, help="Server configuration: default or tuned."
)
@click.option("--junit", type=click.Path(dir_okay=False, path_type=Path), help="Also write JUnit XML here.")
@click.option(
    "--summary", type=click.Path(dir_okay=False, path_type=Path), help="Also write the Markdown summary here."
)
@server_cores_option
@generator_core_option
@artifacts_option
@runs_option
@json_option
def smoke(
    as_json: bool,
    model: str,
    targets: str,
    server_cores: str | None,
    generator_core: str | None,
    **options: Any,
) -> int:
    """Deploy MODEL on every target, check all that a deployment must do, and take it down again."""
    from pipelines.console.printing import ProgressDisplay
    from pipelines.machine.cores import asked_cores
    from pipelines.smoke import stage, telling

    names = tuple(dict.fromkeys(name.strip() for name in targets.split(",")))
    cores = asked_cores(server_cores, generator_core)
    with ProgressDisplay(quiet=as_json) as progress:
        result = stage.smoke(stage.SmokeRequest(model, names, cores=cores, **options), progress)
    if as_json:
        _print_json(telling.facts(result))
    else:
        telling.print_result(result)
    if result.failures:
        return _fail(telling.verdict(result), EXIT_GATE)
    return 0


@tandem.command(**_example("tandem images digits_cnn --only torchserve"))
@model_argument
@click.option(
    "--only", multiple=True, metavar="KEY", help="An image by name; may be repeated.  [default: all]"
)
@click.option("--force", is_flag=True, help="Build again, without the engine's cache.")
@click.option("--compressed", is_flag=True, help="Measure compressed sizes too, about a minute per image.")
@artifacts_option
@json_option
def images(as_json: bool, model: str, **options: Any) -> None:
    """Build the container images of MODEL that are missing, from verified artifacts."""
    from pipelines.console.printing import ProgressDisplay
    from pipelines.package import stage, tables

    with ProgressDisplay(quiet=as_json) as progress:
        built = stage.make_images(model, progress=progress, **options)
    if as_json:
        _print_json(tables.facts(built.images, built.not_built))
    else:
        tables.print_images(built.images, built.not_built)


@tandem.command(**_example("tandem up digits_cnn --locust tfserving"))
@model_argument
@click.option(
    "--preset", default="default", show_default=True, help="Server configuration: default or tuned."
)
@click.option(
    "--locust", "load_target", metavar="TARGET", help="Add Locust with its web page, driving TARGET."
)
@click.option("--prometheus", is_flag=True, help="Add Prometheus, scraping both servers.")
@artifacts_option
@json_option
def up(as_json: bool, **options: Any) -> None:
    """Start both servers of MODEL in containers that stand until `tandem down`."""
    from pipelines.console.printing import ProgressDisplay
    from pipelines.serve import stack as stacks

    with ProgressDisplay(quiet=as_json) as progress:
        stands = stacks.up(stacks.UpRequest(**options), progress)
    if as_json:
        _print_json(vars(stands))
        return
    say(f"{stands.project} stands; both servers answered a sample right. `tandem down` ends it.")
    for name, address in stands.addresses.items():
        say(f"  {name:<20} {address}")


@tandem.command(cls=click.Command, **_example("tandem down"))
@click.argument("project", required=False)
@json_option
def down(project: str | None, as_json: bool) -> None:
    """Stop and remove the stack PROJECT, or all that `tandem up` started."""
    from pipelines.console.printing import ProgressDisplay
    from pipelines.serve import stack as stacks

    with ProgressDisplay(quiet=as_json) as progress:
        gone = stacks.down(project, progress)
    if as_json:
        _print_json(gone)
    else:
        say(f"removed: {', '.join(gone) or 'nothing, no stack stands'}")


@tandem.command(cls=click.Command, **_example("tandem logs --lines 20"))
@click.argument("project", required=False)
@click.option("--lines", default=100, show_default=True, type=click.IntRange(1, 10**6), help="Per container.")
@json_option
def logs(project: str | None, lines: int, as_json: bool) -> None:
    """Print the last lines of every container that `tandem up` started."""
    from pipelines.serve import stack as stacks

    found = stacks.logs(project, lines)
    if as_json:
        _print_json(found)
        return
    for name, text in found.items():
        say(f"==> {name} <==\n{text.rstrip()}\n")


@tandem.command(cls=click.Command, **_example("tandem report runs/latest"))
@click.argument("run", type=click.Path(path_type=Path), default=Path("runs/latest"))
@json_option
def report(run: Path, as_json: bool) -> None:
    """Rebuild every figure and page of a RUN folder from its raw files."""
    from pipelines.run.rebuild import holding_together, rebuild

    record, folder = rebuild(run)
    with holding_together(folder):
        _show(record, folder, as_json)


def _show(run: Any, folder: Path, as_json: bool) -> None:
    if as_json:
        _print_json(json.loads(run.model_dump_json()))  # in ASCII, whatever stdout is
        return
    from pipelines.console.printing import result_console
    from pipelines.report.terminal import print_run

    print_run(run, result_console())
    say(f"\nReport: {folder / 'report.html'}")


def _command_line() -> list[str]:
    # Arguments that are no UTF-8 are in no JSON file either.
    return ["tandem", *(os.fsencode(word).decode(errors="backslashreplace") for word in sys.argv[1:])]


if __name__ == "__main__":
    main()

"""Commands that make and check artifacts: train, export, verify, mobile, images."""

from collections.abc import Collection
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipelines.cli.command import command
from pipelines.cli.options import (
    artifacts_option,
    force_option,
    json_option,
    model_argument,
    output_option,
    road_option,
    runs_option,
    tensorboard_option,
)
from pipelines.cli.results import command_line, end_run, failure_written, print_json

if TYPE_CHECKING:
    from pipelines.artifacts.manifest import Manifest


@command("tandem train digits_cnn --framework torch,keras")
@model_argument
@click.option(
    "--framework",
    metavar="NAMES",
    help="Train alike in torch, keras or torch,keras, measure it and compare; the checkpoint stays as it is.",
)
@click.option("--seeds", type=int, help="With --framework: trainings of each.  [default: 5]")
@click.option(
    "--epochs", type=int, help="With --framework: epochs of each training.  [default: the model's recipe]"
)
@click.option("--batch", type=int, help="With --framework: samples per step.  [default: the model's recipe]")
@click.option("--cores", metavar="LIST", help="With --framework: CPU cores, such as 0-1; a thread on each.")
@click.option(
    "--from",
    "source",
    type=click.Choice(["torch", "keras"]),
    help="Whose model is deployed: torch is the checkpoint; keras, with --framework, writes the Keras model "
    "of the first seed into the run as a file that every command takes.",
)
@runs_option
@output_option
@tensorboard_option
@json_option
def train(
    model: str,
    framework: str | None,
    seeds: int | None,
    epochs: int | None,
    batch: int | None,
    cores: str | None,
    source: str | None,
    runs: Path,
    outputs: tuple[str, ...],
    tensorboard: Path | None,
    as_json: bool,
) -> int:
    """Train MODEL from scratch and replace its checkpoint and training record.

    With --framework train it in both frameworks instead, with the same data, order, batches, learning rates
    and initial weights, and say which is faster and by how much, over several seeds.
    """
    from pipelines.cli import tables
    from pipelines.console.printing import ProgressDisplay
    from pipelines.train import stage

    if framework is not None:
        return _train_compared(
            model,
            framework,
            as_json=as_json,
            outputs=outputs,
            tensorboard=tensorboard,
            **{
                "runs": runs,
                "seeds": seeds,
                "epochs": epochs,
                "batch": batch,
                "cores": cores,
                "keep": source,
            },
        )
    typed = {
        **{"--seeds": seeds, "--epochs": epochs, "--batch": batch, "--cores": cores, "--from": source},
        **{"--output": outputs or None, "--tensorboard": tensorboard},
    }
    option = next((name for name, value in typed.items() if value is not None), None)
    if option is not None:
        raise click.UsageError(f"{option} needs --framework, such as --framework torch,keras.")
    with ProgressDisplay(quiet=as_json) as progress:
        outcome = stage.train(model, progress)
    if as_json:
        print_json(outcome.record | {"reproduced": outcome.reproduced})
    else:
        tables.print_training(outcome)
    return 0


def _train_compared(
    model: str,
    framework: str,
    *,
    as_json: bool,
    outputs: tuple[str, ...],
    tensorboard: Path | None,
    **typed: Any,
) -> int:
    from pipelines.console.printing import ProgressDisplay
    from pipelines.outputs.asked import asked_outputs
    from pipelines.tensorboard.stage import require_writer
    from pipelines.train.comparison import train_compared
    from pipelines.train.settings import training_settings

    wanted = asked_outputs(outputs)
    require_writer(tensorboard)
    with failure_written("train", model, wanted, tensorboard), ProgressDisplay(quiet=as_json) as progress:
        run, folder = train_compared(training_settings(model, framework, **typed), command_line(), progress)
    return end_run(run, folder, as_json, wanted, tensorboard)


def require_targets(manifests: "Collection[Manifest]", *, named: bool) -> None:
    """Refuse the targets that could not be exported: each of those that were `named`, else only all of them.

    Raises:
        GateError, MachineError: as `require_exported`.
    """
    from pipelines.artifacts.manifest import require_exported

    if named or all(manifest.failure for manifest in manifests):
        require_exported(manifests)


@command("tandem export digits_cnn --targets torchserve,tflite")
@model_argument
@click.option("--targets", help="Comma-separated targets to export.  [default: all but torchserve-pt2]")
@road_option
@artifacts_option
@force_option
@json_option
def export(
    model: str, targets: str | None, road: str | None, artifacts: Path, force: bool, as_json: bool
) -> None:
    """Export MODEL to every target, the frameworks at the same time in processes of their own.

    A target that cannot be exported is listed with its reason, and the others are kept. Exit code 1 when
    it is among those that --targets names, or when none at all can be exported.
    """
    from pipelines.cli import tables
    from pipelines.console.printing import ProgressDisplay
    from pipelines.export import stage

    chosen = stage.chosen_targets(targets)
    with ProgressDisplay(quiet=as_json) as progress:
        result = stage.export(model, artifacts, progress, targets=chosen, force=force, road=road)
    if as_json:
        print_json(tables.export_facts(result))
    else:
        tables.print_export(result)
    require_targets(result.manifests.values(), named=targets is not None)


@command("tandem verify digits_cnn")
@model_argument
@click.option("--targets", help="Only these, comma-separated. Default: all that were exported.")
@artifacts_option
@output_option
@json_option
def verify(model: str, targets: str | None, artifacts: Path, outputs: tuple[str, ...], as_json: bool) -> None:
    """Compare every artifact of MODEL, reloaded from disk, with the source model on all held-out samples.

    Exit code 1 when one is not the source model, or when --targets names a target that could not be exported.
    """
    from pipelines.cli import tables
    from pipelines.console.printing import ProgressDisplay
    from pipelines.export.stage import chosen_targets
    from pipelines.outputs.asked import asked_outputs, write_outputs
    from pipelines.outputs.of_verify import facts_of_verified
    from pipelines.verify import stage

    chosen = None if targets is None else chosen_targets(targets)
    wanted, started_at_utc = asked_outputs(outputs), f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    with failure_written("verify", model, wanted), ProgressDisplay(quiet=as_json) as progress:
        verified = stage.verify(model, artifacts, progress, chosen)
    if as_json:
        print_json(tables.parity_facts(verified))
    else:
        tables.print_parity(verified)
    if wanted:
        write_outputs(wanted, facts_of_verified(Path(model).stem, verified, started_at_utc))
    stage.require(verified)
    require_targets(verified.manifests.values(), named=targets is not None)


@command("tandem mobile digits_cnn --max-accuracy-drop 0.01 --max-bytes 4MB")
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
@road_option
@artifacts_option
@runs_option
@force_option
@output_option
@tensorboard_option
@json_option
def mobile(
    model: str,
    max_accuracy_drop: float,
    max_bytes: str | None,
    targets: str | None,
    road: str | None,
    artifacts: Path,
    runs: Path,
    force: bool,
    outputs: tuple[str, ...],
    tensorboard: Path | None,
    as_json: bool,
) -> int:
    """Measure every artifact of MODEL that a device could run, and choose the smallest that is good enough.

    Sizes, accuracy against the source model, latency and memory, each in processes of its own, one after
    another, on the CPU of this host: not a phone.

    Exit code 1 when an artifact loses more accuracy than allowed or does not run, or when none is left within
    all limits. An artifact that is merely larger than --max-bytes is not chosen, and that is all.
    """
    from pipelines.config.mobile import MobileSettings, mobile_limits
    from pipelines.console.printing import ProgressDisplay
    from pipelines.export.stage import chosen_targets
    from pipelines.mobile import stage
    from pipelines.outputs.asked import asked_outputs
    from pipelines.targets.registry import IN_PROCESS
    from pipelines.tensorboard.stage import require_writer

    wanted = asked_outputs(outputs)
    require_writer(tensorboard)
    with failure_written("mobile", model, wanted, tensorboard), ProgressDisplay(quiet=as_json) as progress:
        settings = MobileSettings(
            model=model,
            limits=mobile_limits(max_accuracy_drop, max_bytes),
            targets=chosen_targets(targets, IN_PROCESS),
            force=force,
            road=road,
            artifacts=artifacts,
            runs=runs,
        )
        run, folder = stage.measure_mobile(settings, command_line(), progress)
    ended = end_run(run, folder, as_json, wanted, tensorboard)
    if ended == 0:
        stage.require_gate(run)
    return ended


@command("tandem images digits_cnn --only torchserve")
@model_argument
@click.option(
    "--only",
    multiple=True,
    metavar="KEY",
    help="An image by name: torchserve, tfserving, tfserving-embedded, python, mlserver, triton, locust or "
    "torchserve-naive; may be repeated.  [default: those of torchserve, tfserving and locust]",
)
@click.option("--force", is_flag=True, help="Build again, without the engine's cache.")
@click.option("--compressed", is_flag=True, help="Measure compressed sizes too, about a minute per image.")
@road_option
@artifacts_option
@json_option
def images(as_json: bool, model: str, **options: Any) -> None:
    """Build the container images of MODEL that are missing, from verified artifacts."""
    from pipelines.console.printing import ProgressDisplay
    from pipelines.package import stage, tables

    with ProgressDisplay(quiet=as_json) as progress:
        built = stage.make_images(model, progress=progress, **options)
    if as_json:
        print_json(tables.facts(built.images, built.not_built))
    else:
        tables.print_images(built.images, built.not_built)

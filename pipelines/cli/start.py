"""Commands for a model of one's own: init, check."""

import shlex
from dataclasses import asdict
from pathlib import Path

import click

from pipelines.cli.command import command
from pipelines.cli.exits import EXIT_GATE
from pipelines.cli.options import json_option
from pipelines.cli.results import print_json


@command("tandem init my_model.py --from weights.safetensors")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--from",
    "source",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="A trained model to read: safetensors, a state dict, a Hugging Face folder, TorchScript, .pt2, "
    ".keras, .h5 or a SavedModel.",
)
@click.option("--force", is_flag=True, help="Replace FILE if it is there.")
@json_option
def init(file: Path, source: Path | None, force: bool, as_json: bool) -> None:
    """Write a short commented spec to FILE, to be filled in; asks nothing.

    What --from names is recognised by its content, and what can be read of it is filled in.
    """
    from pipelines.console.printing import ProgressDisplay, say
    from pipelines.init import stage

    with ProgressDisplay(quiet=as_json) as progress:
        written = stage.init(file, source, progress, force=force)
    if as_json:
        print_json({"path": str(written.path), "places_to_fill_in": written.left})
        return
    left = f"{written.left} places to fill in (FILL IN)" if written.left else "nothing left to fill in"
    say(f"{written.path}: {left}")
    say(f"then run `tandem check {shlex.quote(str(written.path))}`")


@command("tandem check my_model.py")
@click.argument("model")
@json_option
def check(model: str, as_json: bool) -> int:
    """Test in seconds what MODEL's spec says: tensors, checkpoint, samples, labels, and the model itself.

    One line per claim, with the line of the file where one is wrong. Nothing is exported. Exit code 1 when a
    claim is wrong.
    """
    from pipelines.check import stage
    from pipelines.cli import tables
    from pipelines.console.printing import ProgressDisplay

    with ProgressDisplay(quiet=as_json) as progress:
        claims = stage.check(model, progress)
    passed = all(claim.state != "wrong" for claim in claims)
    if as_json:
        print_json({"model": model, "passed": passed, "claims": [asdict(claim) for claim in claims]})
    else:
        tables.print_claims(claims)
    return 0 if passed else EXIT_GATE

"""The command for files that exist: import."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipelines.cli.command import command
from pipelines.cli.options import artifacts_option, json_option
from pipelines.cli.results import print_json

if TYPE_CHECKING:
    from pipelines.importing.stage import Imported

FILES = {
    "torchscript": "A TorchScript program, as torch.jit.save writes it.",
    "mar": "A model archive of TorchServe's with a TorchScript program.",
    "saved_model": "A folder with a SavedModel of TensorFlow's.",
    "tflite": "A TensorFlow Lite flatbuffer.",
    "onnx": "An ONNX file with its weights inside.",
    "pt2": "An exported program, as torch.export.save writes it.",
}
ORDER = "pipelines.cli.importing.order"


def _note(ctx: click.Context, param: click.Parameter, value: Path | None) -> Path | None:
    """Remember in which order files were typed: the first in float32 is the reference."""
    if value is not None:
        ctx.meta.setdefault(ORDER, []).append(param.name)
    return value


def file_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add one option per kind of file."""
    for kind, text in reversed(FILES.items()):
        name = f"--{kind.replace('_', '-')}"
        option = click.option(
            name, kind, type=click.Path(path_type=Path), metavar="PATH", callback=_note, help=text
        )
        function = option(function)
    return function


@command("tandem import net --torchscript net.pt --onnx net.onnx --samples held_out.npz")
@click.argument("name")
@file_options
@click.option(
    "--samples",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Held-out inputs: .npz by input's name, and their `labels` if known; .npy of a single input.  "
    "[default: random numbers]",
)
@click.option("--trust", is_flag=True, help="Take in files with code in them, which runs with your rights.")
@artifacts_option
@click.option("--force", is_flag=True, help="Replace an earlier import of that name.")
@json_option
@click.pass_context
def import_files(
    ctx: click.Context,
    /,
    name: str,
    samples: Path | None,
    trust: bool,
    artifacts: Path,
    force: bool,
    as_json: bool,
    **files: Path | None,
) -> None:
    """Make a model NAME of files that exist: one, or several of the same model.

    The files are looked through before anything of them is loaded, copied, and held against each other: the
    exported program (--pt2) is the reference if there is one, else the first file that computes in float32.
    Then verify, mobile, serve, compare and images take NAME. Exit code 1 when a file is damaged or is another
    model: then nothing is imported.
    """
    from pipelines.cli import tables
    from pipelines.console.printing import ProgressDisplay
    from pipelines.importing import stage

    typed = {kind: path for kind in ctx.meta.get(ORDER, ()) if (path := files[kind]) is not None}
    request = stage.ImportRequest(name, typed, artifacts, samples, trust=trust, force=force)
    with ProgressDisplay(quiet=as_json) as progress:
        imported = stage.take_in(request, progress)
    if as_json:
        print_json(facts(imported))
    else:
        tables.print_parity(imported.verified)
        _say(imported)
    stage.require_same(imported)


def facts(imported: "Imported") -> dict[str, Any]:
    """Describe what was imported, from what, and how near each file is to the reference."""
    from dataclasses import asdict

    from pipelines.cli import tables

    given, spec = imported.given, imported.spec
    return {
        "name": spec.name,
        "reference": given.reference,
        "samples": "random" if given.random else "given",
        "samples_count": imported.samples_count,
        "inputs": [asdict(tensor) for tensor in spec.inputs],
        "outputs": [asdict(tensor) for tensor in spec.outputs],
        "files": [asdict(file) for file in given.files],
        **tables.parity_facts(imported.verified),
    }


def _say(imported: "Imported") -> None:
    from pipelines.console.printing import say

    spec, given = imported.spec, imported.given
    for what, tensors in (("input", spec.inputs), ("output", spec.outputs)):
        for tensor in tensors:
            sizes = ", ".join(["batch", *("any" if n is None else str(n) for n in tensor.shape[1:])])
            say(f"{what} {tensor.name}: {tensor.dtype} ({sizes})")
    for file in given.files:
        say(f"{file.kind} {file.source}: {file.precision}, sha256 {file.sha256[:12]}…")
        for finding in file.findings:
            say(f"{file.kind} {file.source}: trusted with {finding}")
    if not imported.verified.failures:
        say(f"then run `tandem compare {spec.argument}`, or verify, mobile, serve, images")

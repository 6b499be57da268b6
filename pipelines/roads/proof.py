"""Whether a road's result is the source model: every output, alone and in batches, on held-out samples."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from models.spec import ModelSpec, load_unchanged
from models.tensors import Array, Tensors, ask, take
from pipelines.errors import GateError, first_line
from pipelines.roads.program import load_plain

# Alone, in a batch that a converter may have fixed, and in one of which it has seen nothing.
BATCHES = (1, 3, 8)
SAMPLES = 48
KEY = "{output}.{place}"
FLOAT32 = "float32.tflite"
Truth = dict[str, list[Array]]
"""Per output what the source model gives for each sample."""


def write_truth(progress: Callable[[str], None], model: str, digest: str, file: str) -> None:
    """Write the source model's outputs for its first held-out samples, each asked alone, to a `.npz`."""
    import torch

    progress("asking the source model")
    spec = load_unchanged(model, digest)
    module, names = load_plain(spec), [output.name for output in spec.outputs]

    def call(batch: dict[str, Array]) -> dict[str, Array]:
        with torch.inference_mode():
            answer = module(*(torch.from_numpy(np.array(array)) for array in batch.values()))
        return {name: value.numpy() for name, value in zip(names, answer, strict=True)}

    outputs = ask(call, take(spec.samples().named, slice(0, SAMPLES)), 1)
    arrays = {
        KEY.format(output=name, place=place): np.asarray(values)
        for name, array in outputs.items()
        for place, values in enumerate(array)
    }
    np.savez(file, **arrays)  # type: ignore[arg-type]


def read_truth(spec: ModelSpec, file: Path) -> Truth:
    """Read per output one array per sample."""
    with np.load(file) as archive:
        count = len(archive.files) // len(spec.outputs)
        return {
            output.name: [archive[KEY.format(output=output.name, place=place)] for place in range(count)]
            for output in spec.outputs
        }


def require_same(
    spec: ModelSpec,
    call: Callable[[dict[str, Array]], Tensors],
    truth: dict[str, list[Array]],
    batches: tuple[int, ...] = BATCHES,
) -> float:
    """Return the largest absolute error of any output in any of the `batches`.

    Raises:
        GateError: an answer fails, is of another shape or dtype, or is beyond the tolerance of its output.
    """
    inputs = take(spec.samples().named, slice(0, SAMPLES))
    worst = 0.0
    for size in batches:
        try:
            got = ask(call, inputs, size)
        except GateError:
            raise
        except Exception as error:  # whatever a framework raises for a graph that it cannot compute
            raise GateError(f"its result fails on a batch of {size}: {first_line(error)}") from error
        for output in spec.outputs:
            worst = max(worst, _error(spec, output.name, got[output.name], truth[output.name], size))
    return worst


def _error(spec: ModelSpec, name: str, got: Array, expected: list[Array], size: int) -> float:
    tolerance, worst = spec.tolerance_of(name), 0.0
    where = f"output {name!r} in a batch of {size}"
    for place, wanted in enumerate(expected):
        actual = np.asarray(got[place])
        if actual.shape != wanted.shape or actual.dtype != wanted.dtype:
            raise GateError(
                f"{where} is {actual.dtype} {actual.shape} for sample {place}, "
                f"not {wanted.dtype} {wanted.shape}"
            )
        difference = np.abs(actual.astype(np.float64) - wanted.astype(np.float64))
        allowed = tolerance.absolute + tolerance.relative * np.abs(wanted.astype(np.float64))
        if not np.all(difference <= allowed):
            largest = float(np.nanmax(difference)) if np.isfinite(difference).any() else np.inf
            raise GateError(
                f"{where} is off by {largest:.3g} for sample {place}, beyond the model's tolerance"
            )
        worst = max(worst, float(difference.max(initial=0.0)))
    return worst


def saved_model_call(folder: Path, signature: str) -> Callable[[dict[str, Array]], dict[str, Array]]:
    """Return a function that asks a SavedModel for a batch.

    Raises:
        GateError: it does not load.
    """
    import tensorflow as tf

    try:
        serve: Any = tf.saved_model.load(str(folder)).signatures[signature]
    except (OSError, ValueError, KeyError, tf.errors.OpError) as error:
        raise GateError(f"its result does not load: {first_line(error)}") from error
    return lambda batch: {
        name: value.numpy() for name, value in serve(**{k: tf.constant(v) for k, v in batch.items()}).items()
    }


def flatbuffer_call(spec: ModelSpec, folder: Path) -> Callable[[dict[str, Array]], dict[str, Array]]:
    """Return a function that asks the float32 file in `folder` for a batch of one, in the model's order.

    Raises:
        GateError: LiteRT does not load it, or it has other tensors.
    """
    from ai_edge_litert.interpreter import Interpreter

    try:
        interpreter = Interpreter(model_path=str(folder / FLOAT32), num_threads=1)
        interpreter.allocate_tensors()
        runner: Any = interpreter.get_signature_runner()
    except (ValueError, RuntimeError) as error:
        raise GateError(f"its result does not load: {first_line(error)}") from error
    taken, outputs = (
        sorted(d, key=_place) for d in (runner.get_input_details(), runner.get_output_details())
    )
    if (len(taken), len(outputs)) != (len(spec.inputs), len(spec.outputs)):
        raise GateError(f"its result has {len(taken)} inputs and {len(outputs)} outputs")

    def call(batch: dict[str, Array]) -> dict[str, Array]:
        answer = runner(**dict(zip(taken, batch.values(), strict=True)))
        return {output.name: answer[theirs] for output, theirs in zip(spec.outputs, outputs, strict=True)}

    return call


def _place(name: str) -> int:
    """Return the number of `args_3` or `output_3`."""
    digits = name.rpartition("_")[2]
    return int(digits) if digits.isdecimal() else 0

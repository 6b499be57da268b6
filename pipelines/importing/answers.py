"""What imported files answer: to learn what they do not say themselves, in processes of their own."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from models import tensors
from models.forward import flattened
from models.given import PROGRAMS, Kind, load_program
from models.signature import STRING
from models.tensors import Array, Tensors
from pipelines.errors import GateError, first_line
from pipelines.imported.reference import answers
from pipelines.imported.saved_model import Tensor
from pipelines.importing.file_facts import constants, program_file
from pipelines.init.reading import Tensor as Guess
from pipelines.init.reading import guessed_inputs, tried_with

MOST_GUESSED = 2
ONE = "output"


@dataclass(frozen=True)
class Answered:
    """An output as it was for several samples, each of one of the `shapes`."""

    name: str
    dtype: str
    shapes: tuple[tuple[int, ...], ...]


def guess_here(
    progress: Callable[[str], None], path: Path, names: Sequence[str]
) -> list[tuple[str, tuple[int | None, ...]]] | None:
    """Find dtypes and shapes of a TorchScript program's inputs by trying what its weights suggest."""
    progress("trying shapes")
    program: Any = load_program(path.parent, program_file("torchscript", path))
    state = program.state_dict()
    held = state or {f"constant {n}": tensor for n, tensor in enumerate(constants(program))}
    guesses = list(guessed_inputs({name: tuple(tensor.shape) for name, tensor in held.items()}))
    if len(names) > MOST_GUESSED:
        return None
    for tried in itertools.product(guesses, repeat=len(names)):
        if tried_with(
            program, [Guess(n, t.dtype, t.shape, False) for n, t in zip(names, tried, strict=True)]
        ):
            return [(guess.dtype, guess.shape) for guess in tried]
    return None


def answer_here(
    progress: Callable[[str], None],
    kind: Kind,
    path: Path,
    samples: Path,
    names: Mapping[str, str],
    outputs: Sequence[str] | None,
) -> list[Answered]:
    """Name, dtype and shapes of each output that a file gives for the samples, in its own order.

    Args:
        names: the file's own names of the inputs, by the model's, in the program's order.
        outputs: its own names of the outputs; None of a program whose answers alone show them.

    Raises:
        GateError: it does not answer.
    """
    progress(f"asking the {kind}")
    arrays = tensors.load(samples)
    inputs = {own: arrays[name] for name, own in names.items()}
    if kind in PROGRAMS:
        answered = _program(kind, path, inputs, outputs or ())
    else:
        answered = answers(kind, path, inputs, list(outputs or ()))
    return [_described(name, array) for name, array in answered.items()]


def _described(name: str, array: Array) -> Answered:
    shapes = sorted({np.asarray(sample).shape for sample in array})
    dtype = STRING if tensors.is_text(array) else str(np.asarray(array[0]).dtype)
    return Answered(name, dtype, tuple(shapes))


def _program(kind: Kind, path: Path, inputs: Tensors, outputs: Sequence[str]) -> dict[str, Array]:
    import torch

    module = load_program(path.parent, program_file(kind, path))
    names = list(outputs)

    def call(batch: Mapping[str, Array]) -> dict[str, Array]:
        with torch.inference_mode():
            answer = module(*(torch.tensor(array) for array in batch.values()))
        if not names:
            names.extend(_names(answer))
        leaves = flattened("that was imported", answer, names, "the program")
        return {name: tensor.numpy(force=True) for name, tensor in zip(names, leaves, strict=True)}

    try:
        return tensors.ask(call, inputs, 2)
    except Exception as error:
        shapes = ", ".join(f"{name} {array[0].dtype} {array[0].shape}" for name, array in inputs.items())
        raise GateError(
            f"the {kind} does not take a batch of two samples ({shapes}): {_reason(error)}; give --samples "
            "that are real inputs"
        ) from error


def _reason(error: Exception) -> str:
    """Return TorchScript's own reason, which stands in its last line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = lines[-1] if lines and "Traceback" in str(error) else first_line(error)
    return f"{type(error).__name__}: {reason:.160}"


def _names(answer: Any) -> list[str]:
    if isinstance(answer, Mapping):
        return [str(name) for name in answer]
    count = sum(1 for _ in _leaves(answer))
    return [ONE] if count == 1 else [f"{ONE}_{place}" for place in range(count)]


def _leaves(answer: Any) -> "Sequence[Any]":
    if isinstance(answer, list | tuple):
        return [leaf for part in answer for leaf in _leaves(part)]
    if isinstance(answer, Mapping):
        return [leaf for part in answer.values() for leaf in _leaves(part)]
    return [answer]


def observed(
    answered: Sequence[Answered], declared: Sequence[Tensor] | None, *, dynamic: bool
) -> tuple[Tensor, ...]:
    """Return outputs as they were answered; a dynamic size stays so where inputs are `dynamic`."""
    outputs = []
    for place, one in enumerate(answered):
        if len({len(shape) for shape in one.shapes}) > 1:
            raise GateError(f"the output {one.name!r} has another number of dimensions for other samples")
        sizes = [axis[0] if len(set(axis)) == 1 else None for axis in zip(*one.shapes, strict=True)]
        shape = None if declared is None else declared[place].shape
        if dynamic and shape is not None and len(shape) == len(sizes) + 1:
            sizes = [
                None if declared_size is None else size
                for size, declared_size in zip(sizes, shape[1:], strict=True)
            ]
        outputs.append(Tensor(one.name, one.dtype, (None, *sizes)))
    return tuple(outputs)

"""How artifacts are asked and their answers are named, the same for every target's runtime."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from models.tensors import Array, Sample, Tensors, ask, count, joined, samples, take
from pipelines.errors import GateError

# Larger batches find no other mistakes and need more memory.
BATCH = 64


def ask_in_batches(
    artifact: Path, call: Callable[[dict[str, Array]], Mapping[str, Array]], inputs: Tensors
) -> dict[str, Array]:
    """Answer `inputs` (n, …): the first sample from a batch of one, the others from larger batches.

    A comparison so finds a file that computes only one batch size, or another thing at batch 1.

    Raises:
        GateError: an answer does not have a row per sample.
    """

    def rows(batch: dict[str, Array]) -> Mapping[str, Array]:
        answer = call(batch)
        for name, array in answer.items():
            if array.ndim == 0 or len(array) != count(batch):
                raise GateError(
                    f"{artifact} gives {name!r} of shape {array.shape} for a batch of {count(batch)}"
                )
        return answer

    first = ask(rows, take(inputs, slice(0, 1)), 1)
    others = ask(rows, take(inputs, slice(1, None)), BATCH)
    return joined([*samples(first), *samples(others)])


def ask_one_by_one(model: Any, inputs: Tensors) -> dict[str, Array]:
    """Return what an `InProcessModel` gives for each sample of `inputs` (n, …), one by one as on a device."""
    answers: list[Sample] = []
    for sample in samples(inputs):
        model.set_inputs(sample)
        model.invoke()
        answers.append(model.outputs())
    return joined(answers)


def named(artifact: Path, values: Any, names: Sequence[str]) -> dict[str, Any]:
    """Return a file's answer by the names of the outputs: by position, or by its own names if it has them.

    Raises:
        GateError: there are more or fewer outputs, or one is missing.
    """
    if isinstance(values, Mapping):
        return {name: values[wanted] for name, wanted in matched(artifact, "output", names, values).items()}
    tensors = list(values) if isinstance(values, list | tuple) else [values]
    if len(tensors) != len(names):
        raise GateError(
            f"{artifact} gives {len(tensors)} outputs; the model has {len(names)}: {', '.join(names)}"
        )
    return dict(zip(names, tensors, strict=True))


def matched(artifact: Path, what: str, names: Sequence[str], own: Mapping[str, Any]) -> dict[str, str]:
    """Map each name of the model to the file's own; a single tensor matches whatever it is called.

    Raises:
        GateError: the file does not have just these.
    """
    if len(names) == len(own) == 1:
        return {names[0]: next(iter(own))}
    if set(names) != set(own):
        raise GateError(
            f"{artifact} has the {what}s {', '.join(sorted(own)) or 'none'}; the model has {', '.join(names)}"
        )
    return {name: name for name in names}


def contiguous(sample: Sample) -> dict[str, Array]:
    """Return the tensors of a sample as a batch of one, in memory of their own."""
    # Not by `ascontiguousarray`, which makes an array of a lone number, as a user's id is.
    return {name: np.array(array, order="C")[None] for name, array in sample.items()}

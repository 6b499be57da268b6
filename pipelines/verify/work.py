"""Do the work of a verification process: ask the source model, or the artifacts of one framework."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from pkgutil import resolve_name

import numpy as np

from models import tensors
from models.spec import ModelSpec, load_model, load_unchanged
from models.tensors import Tensors, count, is_text, take
from pipelines.errors import GateError
from pipelines.parity.quality import is_discrete
from pipelines.targets.registry import SERVED, TARGETS
from pipelines.verify.proof import tensor_bytes

# An artifact for devices that would need longer for the whole held-out set is asked fewer samples.
AFFORDABLE_S = 45.0
TRIED_SAMPLES = 4
LEAST_SAMPLES = 64
# In the folder that the processes of one verification share.
SAMPLES_NAME = "samples.npz"
SOURCE = "source"


@dataclass(frozen=True)
class Wanted:
    """One artifact that is to answer; `key` is TARGET/PATH."""

    key: str
    target: str
    path: Path
    format: str


@dataclass
class Answers:
    """By TARGET/PATH, or "source": an .npz file of outputs, or why there are none."""

    outputs: dict[str, Path] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)

    def add(self, other: "Answers") -> None:
        """Take those of another process too."""
        self.outputs |= other.outputs
        self.errors |= other.errors


def ask_source(progress: Callable[[str], None], model: str, digest: str, folder: Path) -> Answers:
    """Write the source model's outputs on the samples in `folder` as an .npz file, in a process of its own.

    Raises:
        ModelError: its answers are no function of one sample alone, see `pipelines.parity.source`.
    """
    from pipelines.imported.reference import outputs_of

    progress("running the checkpoint")
    spec = load_unchanged(model, digest)
    outputs = outputs_of(spec, tensors.load(folder / SAMPLES_NAME))
    return Answers({SOURCE: _save(outputs, folder, SOURCE)})


def artifact_outputs(
    progress: Callable[[str], None], model: str, folder: Path, wanted: Sequence[Wanted]
) -> Answers:
    """Write what artifacts reloaded from disk make of the samples in `folder`, in a process of its own."""
    spec = load_model(model)
    inputs, names = tensors.load(folder / SAMPLES_NAME), [output.name for output in spec.outputs]
    answers = Answers()
    for number, one in enumerate(wanted):
        progress(f"running {one.path.name}")
        predict = partial(resolve_name(TARGETS[one.target].runtime), one.path, one.format, outputs=names)
        try:
            chosen = inputs if one.target in SERVED else _affordable(predict, inputs)
            result = predict(chosen)
            _require_all_answered(one.key, result, spec, count(chosen))
        except GateError as error:
            answers.errors[one.key] = str(error)
        else:
            answers.outputs[one.key] = _save(result, folder, f"{one.target}-{one.path.name}-{number}")
    return answers


def _require_all_answered(key: str, result: Tensors, spec: ModelSpec, samples_count: int) -> None:
    """Raise GateError unless every sample has an answer of the source model's kind at every output.

    A file with a fixed batch gives more or fewer answers than samples.
    """
    for output in spec.outputs:
        if output.name not in result:
            raise GateError(f"{key} gives no output {output.name!r}; it gives {', '.join(map(repr, result))}")
        array = result[output.name]
        if array.ndim == 0 or len(array) != samples_count:
            raise GateError(f"{key} gives outputs of shape {array.shape} for {samples_count} samples")
        if is_discrete(array) == output.is_float or is_text(array) != output.is_text:
            dtype = "strings" if is_text(array) else np.asarray(array[0]).dtype
            raise GateError(
                f"{key} gives {dtype} at output {output.name!r}, the source model gives {output.dtype}"
            )


def _affordable(predict: Callable[[Tensors], Tensors], inputs: Tensors) -> Tensors:
    """Return all samples, or the first ones if all would take minutes: some kernels are that slow here."""
    predict(take(inputs, slice(1)))
    started = time.monotonic()
    tried = take(inputs, slice(TRIED_SAMPLES))
    predict(tried)
    each_s = (time.monotonic() - started) / count(tried)
    return take(inputs, slice(max(LEAST_SAMPLES, int(AFFORDABLE_S / each_s))))


def _save(outputs: Tensors, folder: Path, name: str) -> Path:
    path = folder / f"{name}.npz"
    path.write_bytes(tensor_bytes(outputs))
    return path

"""Do the work of a verification process: ask the source model, or the artifacts of one framework."""

import importlib
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

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


def ask_source(model: str, digest: str, folder: str, progress: Callable[[str], None]) -> dict[str, Any]:
    """Write the source model's outputs on the samples in `folder` as an .npz file, in a process of its own.

    Raises:
        ModelError: its answers are no function of one sample alone, see `pipelines.parity.source`.
    """
    from pipelines.imported.reference import outputs_of

    progress("running the checkpoint")
    spec = load_unchanged(model, digest)
    outputs = outputs_of(spec, tensors.load(Path(folder) / SAMPLES_NAME))
    return {"outputs": {"source": _save(outputs, folder, "source")}, "errors": {}}


def artifact_outputs(
    model: str, folder: str, wanted: list[dict[str, str]], progress: Callable[[str], None]
) -> dict[str, Any]:
    """Write what artifacts reloaded from disk make of the samples in `folder`, in a process of its own."""
    spec = load_model(model)
    inputs, names = tensors.load(Path(folder) / SAMPLES_NAME), [output.name for output in spec.outputs]
    outputs: dict[str, str] = {}
    errors: dict[str, str] = {}
    for number, entry in enumerate(wanted):
        progress(f"running {Path(entry['path']).name}")
        module, function = TARGETS[entry["target"]].runtime.split(":")
        runtime = getattr(importlib.import_module(module), function)
        predict = partial(runtime, Path(entry["path"]), entry["format"], outputs=names)
        try:
            chosen = inputs if entry["target"] in SERVED else _affordable(predict, inputs)
            result = predict(chosen)
            _require_all_answered(entry["key"], result, spec, count(chosen))
        except GateError as error:
            errors[entry["key"]] = str(error)
        else:
            outputs[entry["key"]] = _save(
                result, folder, f"{entry['target']}-{Path(entry['path']).name}-{number}"
            )
    return {"outputs": outputs, "errors": errors}


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


def _save(outputs: Tensors, folder: str, name: str) -> str:
    path = Path(folder) / f"{name}.npz"
    path.write_bytes(tensor_bytes(outputs))
    return str(path)

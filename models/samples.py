"""Real examples as a model gives them, and as everything else wants them: by name and checked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from models.errors import ModelError
from models.signature import TensorSpec
from models.tensors import Array, Tensors, as_text, count, fits, is_ragged, stacked

FLOAT_KIND = "f"
NAMED = 5  # that many wrong places or names are enough to see what is meant


@dataclass(frozen=True)
class Samples:
    """Real examples, and what is right for them.

    `inputs` are (n, …) in the model's input layout: an array, or by name where there are several inputs; a
    list of arrays where samples differ in shape. `labels` are classes, (n,) integers, or targets, numbers in
    the output's shape, of the one output or by name; None or empty where neither is known.

    `named` are the inputs by name, as `ModelSpec.samples` has checked them.
    """

    inputs: Any
    labels: Any = field(default_factory=lambda: np.zeros(0, np.int64))
    named: Tensors = field(default_factory=dict, compare=False)

    def __len__(self) -> int:
        array = next(iter(self.inputs.values())) if isinstance(self.inputs, Mapping) else self.inputs
        return len(array)


def checked(model: str, samples: object, signature: Sequence[TensorSpec]) -> Samples:
    """Return the same samples with `named`, if they fit the inputs of the `signature`.

    Raises:
        ModelError: they are no samples, or an input's are missing, of another dtype or shape, not finite, or
            fewer than those of another input.
    """
    if not isinstance(samples, Samples):
        raise ModelError(
            f"samples of {model} are a {type(samples).__name__}; Samples(inputs, labels) is needed"
        )
    arrays = _by_name(model, samples.inputs, signature)
    named = {tensor.name: _checked(model, arrays[tensor.name], tensor) for tensor in signature}
    counts = {name: len(array) for name, array in named.items()}
    if len(set(counts.values())) > 1:
        listing = ", ".join(f"{name} {size}" for name, size in counts.items())
        raise ModelError(f"samples of {model} have different numbers per input: {listing}")
    if not count(named):
        raise ModelError(f"{model} has no samples; without any, nothing can be compared")
    labels = np.zeros(0, np.int64) if samples.labels is None else samples.labels
    return Samples(samples.inputs, labels, named)


def _by_name(model: str, inputs: Any, signature: Sequence[TensorSpec]) -> Mapping[str, Any]:
    names = [tensor.name for tensor in signature]
    if not isinstance(inputs, Mapping):
        if len(names) == 1:
            return {names[0]: inputs}
        raise ModelError(
            f"samples of {model} are one array for {len(names)} inputs; give a dict of arrays with the keys "
            f"{', '.join(names)}"
        )
    missing, unknown = [n for n in names if n not in inputs], [n for n in inputs if n not in names]
    if missing or unknown:
        problems = [f"no samples for {', '.join(missing)}"] * bool(missing)
        problems += [f"samples for {', '.join(map(repr, unknown[:NAMED]))}"] * bool(unknown)
        raise ModelError(
            f"samples of {model} have {' and '.join(problems)}; its inputs are {', '.join(names)}"
        )
    return inputs


def _checked(model: str, values: Any, tensor: TensorSpec) -> Array:
    array = _text(model, values, tensor) if tensor.is_text else _array(model, values, tensor)
    each = [np.asarray(sample) for sample in array] if is_ragged(array) else None
    dtypes = {sample.dtype for sample in each} if each is not None else {array.dtype}
    wrong = sorted(str(dtype) for dtype in dtypes if not tensor.holds(dtype))
    if wrong:
        raise ModelError(
            f"samples of {model} are {', '.join(wrong)}, its input {tensor.name!r} is {tensor.dtype}; "
            f"give them as {tensor.dtype}"
        )
    for shape in {sample.shape for sample in each} if each is not None else {array.shape[1:]}:
        if not fits(shape, tensor.shape[1:]):
            raise ModelError(
                f"samples of {model} have shape {shape} without the batch, its input {tensor.name!r} says "
                f"{tensor.shape[1:]}"
            )
    if array.dtype.kind == FLOAT_KIND or each is not None:
        _require_finite(model, array, tensor)
    return array


def _text(model: str, values: Any, tensor: TensorSpec) -> Array:
    """Return an array of strings with the samples first."""
    try:
        if isinstance(values, np.ndarray) and (values.dtype.kind != "O" or values.ndim > 1):
            return as_text(values)
        return stacked([as_text(sample) for sample in values])
    except (ValueError, TypeError) as error:
        raise ModelError(
            f"samples of {model} for the input {tensor.name!r} are no strings: {error}; give a list of text "
            "or bytes, or an array of them"
        ) from error


def _array(model: str, values: Any, tensor: TensorSpec) -> Array:
    """Return an array with the samples first; a list of arrays of different shapes as an array of arrays."""
    if isinstance(values, np.ndarray) and values.dtype != object:
        if not values.ndim:
            raise ModelError(f"samples of {model} for the input {tensor.name!r} are a single number")
        return values
    if not isinstance(values, list | tuple | np.ndarray):
        raise ModelError(
            f"samples of {model} are a {type(values).__name__} for the input {tensor.name!r}; a NumPy array "
            "is needed, or a list of them"
        )
    return stacked([np.asarray(sample) for sample in values]) if len(values) else np.zeros((0,), tensor.dtype)


def _require_finite(model: str, array: Array, tensor: TensorSpec) -> None:
    for place, sample in enumerate(array):
        values = np.asarray(sample)
        if values.dtype.kind == FLOAT_KIND and not np.isfinite(values).all():
            value = values.ravel()[int(np.argmin(np.isfinite(values.ravel())))]
            raise ModelError(
                f"sample {place} of {model} holds {value} in the input {tensor.name!r}; finite numbers are "
                "needed, JSON knows no others"
            )

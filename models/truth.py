"""What is right for each sample: classes, target values, or nothing that is known."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from models.errors import ModelError
from models.signature import TensorSpec
from models.tensors import Array, fits, is_ragged, stacked

# What outputs are: scores of classes, quantities, scores of classes at every position, or none of these.
Task = Literal["classes", "regression", "tokens", "none"]
BINARY = 2
# The label of a position that is not counted, as `torch.nn.CrossEntropyLoss` has it.
NOT_COUNTED = -100


@dataclass(frozen=True)
class Truth:
    """What is known of one output; None: not known.

    `labels` are int64, classes, (n,), or of tokens one per position, (n, …) without the scores' dimension.
    `targets` (n, …) have the output's shape and dtype. Both are arrays of arrays where samples differ.
    """

    labels: Array | None = None
    targets: Array | None = None


def classes_of(output: TensorSpec) -> int | None:
    """Return how many classes an output has: its last dimension; None if dynamic or of whole numbers."""
    if not output.is_float:
        return None
    return output.shape[-1] if len(output.shape) > 1 else 1


def require_task(model: str, output: TensorSpec, task: Task | None) -> None:
    """Refuse a task that an output of this shape cannot have.

    Raises:
        ModelError: classes at every position declared as classes, or the other way round.
    """
    if output.is_text and task not in (None, "none"):
        raise ModelError(
            f"task of {model}'s output {output.name!r} is {task!r}, and it holds strings, which are equal or "
            "not; say 'none'"
        )
    positions = len(output.shape) - (2 if output.is_float else 1)
    if task == "classes" and positions > 0:
        raise ModelError(
            f"task of {model}'s output {output.name!r} is 'classes', its shape {output.shape} has a class at "
            "every position; say 'tokens'"
        )
    if task == "tokens" and positions < 1:
        needed = "(None, positions, classes)" if output.is_float else "(None, positions)"
        raise ModelError(
            f"task of {model}'s output {output.name!r} is 'tokens', its shape {output.shape} has no "
            f"positions: {needed} is needed; or say 'classes'"
        )


def truth_of(
    model: str, given: Any, count: int, output: TensorSpec, names: Sequence[str], task: Task | None
) -> Truth:
    """Return what `given`, the labels of `count` samples, says about an `output`.

    Integers (n,) are classes, integers (n, positions) classes at every position, floats in the output's shape
    are targets. For a single column 0 and 1 are classes and any other value is a target. A declared `task`
    decides where more than one would do.

    Raises:
        ModelError: they are not one per sample, no class of the model, or of another shape.
    """
    if task == "none" or given is None or (hasattr(given, "__len__") and not len(given)):
        return Truth()
    if output.is_text:
        raise ModelError(
            f"{model}'s samples have labels of {output.name!r}, which holds strings; leave them out, or give "
            "those of another output by its name"
        )
    labels = _array(model, output, given)
    if len(labels) != count:
        raise ModelError(f"{model}: {count} sample inputs for {len(labels)} labels of {output.name!r}")
    each = [np.asarray(one) for one in labels] if is_ragged(labels) else [labels]
    for one in each:
        if one.dtype.kind not in "buif" or not np.isfinite(one.astype(np.float64)).all():
            raise ModelError(
                f"labels of {model}'s samples for {output.name!r} are {one.dtype}; finite numbers are allowed"
            )
    shape = output.shape[1:]
    whole = all(one.dtype.kind in "bui" for one in each)
    if task == "tokens" or (task is None and whole and _are_positions(labels, output)):
        return Truth(_positions(model, labels, output, names))
    if shape in ((), (1,)) and not is_ragged(labels):
        return _of_one_column(model, labels.reshape(count, -1), output, names, task)
    if labels.ndim == 1 and whole and not is_ragged(labels) and task != "regression":
        return Truth(_classes(model, labels, classes_of(output))) if len(shape) == 1 else Truth()
    return Truth(targets=_targets(model, labels, output, task))


def _array(model: str, output: TensorSpec, given: Any) -> Array:
    """Return the labels as an array; a list of arrays of different shapes as an array of arrays."""
    try:
        return np.asarray(given) if isinstance(given, np.ndarray) else stacked([*map(np.asarray, given)])
    except (TypeError, ValueError) as error:
        raise ModelError(
            f"labels of {model}'s samples for {output.name!r} are a {type(given).__name__}; an array of "
            "numbers is needed, one per sample"
        ) from error


def _position_shape(output: TensorSpec) -> tuple[int | None, ...]:
    """Return the shape of a sample's labels, one per position: without the dimension of the scores."""
    return output.shape[1:-1] if output.is_float else output.shape[1:]


def _shapes(labels: Array) -> set[tuple[int, ...]]:
    return {np.asarray(one).shape for one in labels} if is_ragged(labels) else {labels.shape[1:]}


def _are_positions(labels: Array, output: TensorSpec) -> bool:
    """Return whether there is one label per position, not one value per number of the output."""
    wanted = _position_shape(output)
    return len(wanted) > 0 and all(fits(shape, wanted) for shape in _shapes(labels))


def _positions(model: str, labels: Array, output: TensorSpec, names: Sequence[str]) -> Array:
    wanted, found = _position_shape(output), _shapes(labels)
    if not all(fits(shape, wanted) for shape in found):
        raise ModelError(
            f"labels of {model}'s samples for {output.name!r} have shape {max(found)} per sample, one class "
            f"per position is needed: {wanted}"
        )
    classes = classes_of(output) or (len(names) or None)
    each = [_classes(model, np.asarray(one), classes, NOT_COUNTED) for one in labels]
    return stacked(each)


def _of_one_column(
    model: str, given: npt.NDArray[Any], output: TensorSpec, names: Sequence[str], task: Task | None
) -> Truth:
    """Return the labels (n, 1) of an output of one column."""
    if given.shape[1] != 1:
        raise ModelError(f"{model} has one output column, its samples have {given.shape[1]} labels each")
    if not output.is_float and task != "regression":
        # A whole number is the class itself, of as many as there are names for.
        return Truth(_classes(model, given[:, 0], len(names) or None))
    binary = bool(np.isin(given, (0, 1)).all())
    if task != "regression" and (binary or task == "classes" or len(names) == BINARY):
        return Truth(_classes(model, given[:, 0], BINARY))
    shape = (len(given), *(n or 1 for n in output.shape[1:]))
    return Truth(targets=given.astype(_target_dtype(output)).reshape(shape))


def _target_dtype(output: TensorSpec) -> str:
    return "float64" if output.dtype == "float64" or not output.is_float else "float32"


def _classes(
    model: str, given: npt.NDArray[Any], count: int | None, besides: int | None = None
) -> npt.NDArray[np.int64]:
    """Return `given` as int64, if all of them are classes or `besides`."""
    labels = given.astype(np.int64)
    counted = labels if besides is None else labels[labels != besides]
    out = counted.size and (counted.min() < 0 or (count is not None and counted.max() >= count))
    if (labels != given).any() or out:
        also = "" if besides is None else f", and {besides} for a position that is not counted,"
        limit = "up" if count is None else f"to {count - 1}"
        raise ModelError(
            f"{model} has {'any' if count is None else count} classes, its samples have labels from "
            f"{given.min()} to {given.max()}; whole numbers from 0 {limit}{also} are allowed"
        )
    return labels


def _targets(model: str, given: Array, output: TensorSpec, task: Task | None) -> Array:
    declared = output.shape[1:]
    found = _shapes(given)
    if task == "classes" or not all(fits(shape, declared) for shape in found):
        allowed = "integers (n,)" if task == "classes" else f"floats {('n', *declared)} or integers (n,)"
        said = f"shape {given.shape}" if not is_ragged(given) else f"shapes such as {max(found)}"
        kind = np.asarray(given[0]).dtype
        raise ModelError(f"labels of {model}'s samples are {kind} of {said}; allowed: {allowed}")
    dtype = _target_dtype(output)
    if not is_ragged(given):
        return given.astype(dtype)
    return stacked([np.asarray(one).astype(dtype) for one in given])

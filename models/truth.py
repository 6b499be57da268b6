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

    def first(self, count: int) -> "Truth":
        """Return what is known of the first `count` samples."""
        labels = None if self.labels is None else self.labels[:count]
        return Truth(labels, None if self.targets is None else self.targets[:count])


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
    model: str, raw: Any, count: int, output: TensorSpec, names: Sequence[str], task: Task | None
) -> Truth:
    """Return what `raw`, the labels of `count` samples, says about an `output`.

    Integers (n,) are classes, integers (n, positions) classes at every position, floats in the output's shape
    are targets. For a single column 0 and 1 are classes and any other value is a target. A declared `task`
    decides where more than one would do.

    Raises:
        ModelError: they are not one per sample, no class of the model, or of another shape.
    """
    if task == "none" or raw is None or (hasattr(raw, "__len__") and not len(raw)):
        return Truth()
    if output.is_text:
        raise ModelError(
            f"{model}'s samples have labels of {output.name!r}, which holds strings; leave them out, or give "
            "those of another output by its name"
        )
    labels = _array(model, output, raw)
    if len(labels) != count:
        raise ModelError(f"{model}: {count} sample inputs for {len(labels)} labels of {output.name!r}")
    each = [np.asarray(part) for part in labels] if is_ragged(labels) else [labels]
    for part in each:
        if part.dtype.kind not in "buif" or not np.isfinite(part.astype(np.float64)).all():
            raise ModelError(
                f"labels of {model}'s samples for {output.name!r} are {part.dtype}; finite numbers are "
                "allowed"
            )
    shape = output.shape[1:]
    whole = all(part.dtype.kind in "bui" for part in each)
    if task == "tokens" or (task is None and whole and _are_positions(labels, output)):
        return Truth(_positions(model, labels, output, names))
    if shape in ((), (1,)) and not is_ragged(labels):
        return _of_one_column(model, labels.reshape(count, -1), output, names, task)
    if labels.ndim == 1 and whole and not is_ragged(labels) and task != "regression":
        return Truth(_classes(model, labels, classes_of(output))) if len(shape) == 1 else Truth()
    return Truth(targets=_targets(model, labels, output, task))


def _array(model: str, output: TensorSpec, raw: Any) -> Array:
    """Return the labels as an array; a list of arrays of different shapes as an array of arrays."""
    try:
        return np.asarray(raw) if isinstance(raw, np.ndarray) else stacked([*map(np.asarray, raw)])
    except (TypeError, ValueError) as error:
        raise ModelError(
            f"labels of {model}'s samples for {output.name!r} are a {type(raw).__name__}; an array of "
            "numbers is needed, one per sample"
        ) from error


def _position_shape(output: TensorSpec) -> tuple[int | None, ...]:
    """Return the shape of a sample's labels, one per position: without the dimension of the scores."""
    return output.shape[1:-1] if output.is_float else output.shape[1:]


def _shapes(labels: Array) -> set[tuple[int, ...]]:
    return {np.asarray(label).shape for label in labels} if is_ragged(labels) else {labels.shape[1:]}


def _are_positions(labels: Array, output: TensorSpec) -> bool:
    """Return whether there is one label per position, not one value per number of the output."""
    wanted = _position_shape(output)
    return len(wanted) > 0 and all(fits(shape, wanted) for shape in _shapes(labels))


def _positions(model: str, labels: Array, output: TensorSpec, names: Sequence[str]) -> Array:
    wanted, shapes = _position_shape(output), _shapes(labels)
    if not all(fits(shape, wanted) for shape in shapes):
        raise ModelError(
            f"labels of {model}'s samples for {output.name!r} have shape {max(shapes)} per sample, one class "
            f"per position is needed: {wanted}"
        )
    classes = classes_of(output) or (len(names) or None)
    each = [_classes(model, np.asarray(label), classes, NOT_COUNTED) for label in labels]
    return stacked(each)


def _of_one_column(
    model: str, labels: npt.NDArray[Any], output: TensorSpec, names: Sequence[str], task: Task | None
) -> Truth:
    """Return the labels (n, 1) of an output of one column."""
    if labels.shape[1] != 1:
        raise ModelError(f"{model} has one output column, its samples have {labels.shape[1]} labels each")
    if not output.is_float and task != "regression":
        # A whole number is the class itself, of as many as there are names for.
        return Truth(_classes(model, labels[:, 0], len(names) or None))
    binary = bool(np.isin(labels, (0, 1)).all())
    if task != "regression" and (binary or task == "classes" or len(names) == BINARY):
        return Truth(_classes(model, labels[:, 0], BINARY))
    shape = (len(labels), *(n or 1 for n in output.shape[1:]))
    return Truth(targets=labels.astype(_target_dtype(output)).reshape(shape))


def _target_dtype(output: TensorSpec) -> str:
    return "float64" if output.dtype == "float64" or not output.is_float else "float32"


def _classes(
    model: str, raw: npt.NDArray[Any], count: int | None, besides: int | None = None
) -> npt.NDArray[np.int64]:
    """Return `raw` as int64, if all of them are classes or `besides`."""
    labels = raw.astype(np.int64)
    counted = labels if besides is None else labels[labels != besides]
    out = counted.size and (counted.min() < 0 or (count is not None and counted.max() >= count))
    if (labels != raw).any() or out:
        also = "" if besides is None else f", and {besides} for a position that is not counted,"
        limit = "up" if count is None else f"to {count - 1}"
        raise ModelError(
            f"{model} has {'any' if count is None else count} classes, its samples have labels from "
            f"{raw.min()} to {raw.max()}; whole numbers from 0 {limit}{also} are allowed"
        )
    return labels


def _targets(model: str, labels: Array, output: TensorSpec, task: Task | None) -> Array:
    declared = output.shape[1:]
    shapes = _shapes(labels)
    if task == "classes" or not all(fits(shape, declared) for shape in shapes):
        allowed = "integers (n,)" if task == "classes" else f"floats {('n', *declared)} or integers (n,)"
        described = f"shape {labels.shape}" if not is_ragged(labels) else f"shapes such as {max(shapes)}"
        kind = np.asarray(labels[0]).dtype
        raise ModelError(f"labels of {model}'s samples are {kind} of {described}; allowed: {allowed}")
    dtype = _target_dtype(output)
    if not is_ragged(labels):
        return labels.astype(dtype)
    return stacked([np.asarray(label).astype(dtype) for label in labels])

"""What is right for each sample: classes, target values, or nothing that is known."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from models.errors import ModelError

# What outputs are: scores of classes, quantities, scores of classes at every position, or none of these.
Task = Literal["classes", "regression", "tokens", "none"]
MATRIX = 2
BINARY = 2


@dataclass(frozen=True)
class Truth:
    """`labels` (n,) int64, classes, or `targets` (n, …) float32 in the output's shape; None: not known."""

    labels: npt.NDArray[np.int64] | None = None
    targets: npt.NDArray[np.float32] | None = None


def truth_of(
    model: str,
    given: npt.NDArray[Any],
    count: int,
    output_shape: Sequence[int | None],
    names: Sequence[str],
    task: Task | None,
) -> Truth:
    """What `given`, the labels of `count` samples, says about outputs of `output_shape` without the batch.

    Integers (n,) are classes, floats in the output's shape are targets. For a single column 0 and 1 are
    classes and any other value is a target. A declared `task` decides where both would do.

    Raises:
        ModelError: they are not one per sample, no class of the model, or of another shape.
    """
    if task == "none" or not np.size(given):
        return Truth()
    given = np.asarray(given)
    if len(given) != count:
        raise ModelError(f"{model}: {count} sample inputs for {len(given)} labels")
    if given.dtype.kind not in "buif" or not np.isfinite(given.astype(np.float64)).all():
        raise ModelError(f"labels of {model}'s samples are {given.dtype}; finite numbers are allowed")
    if tuple(output_shape) in ((), (1,)):
        return _of_one_column(model, given.reshape(count, -1), output_shape, names, task)
    if given.ndim == 1 and given.dtype.kind in "bui" and task != "regression":
        return Truth(_classes(model, given, output_shape[-1])) if len(output_shape) == 1 else Truth()
    return Truth(targets=_targets(model, given, output_shape, task))


def _of_one_column(
    model: str,
    given: npt.NDArray[Any],
    output_shape: Sequence[int | None],
    names: Sequence[str],
    task: Task | None,
) -> Truth:
    """Labels (n, 1) of an output of one column."""
    if given.shape[1] != 1:
        raise ModelError(f"{model} has one output column, its samples have {given.shape[1]} labels each")
    binary = bool(np.isin(given, (0, 1)).all())
    if task != "regression" and (binary or task == "classes" or len(names) == BINARY):
        return Truth(_classes(model, given[:, 0], BINARY))
    return Truth(targets=given.astype(np.float32).reshape(len(given), *(n or 1 for n in output_shape)))


def _classes(model: str, given: npt.NDArray[Any], count: int | None) -> npt.NDArray[np.int64]:
    labels = given.astype(np.int64)
    if (labels != given).any() or labels.min() < 0 or (count is not None and labels.max() >= count):
        raise ModelError(
            f"{model} has {count} classes, its samples have labels from {given.min()} to {given.max()}; "
            f"whole numbers from 0 to {(count or 0) - 1} are allowed"
        )
    return labels


def _targets(
    model: str, given: npt.NDArray[Any], output_shape: Sequence[int | None], task: Task | None
) -> npt.NDArray[np.float32]:
    fits = given.ndim == len(output_shape) + 1 and all(
        wanted in (None, found) for wanted, found in zip(output_shape, given.shape[1:], strict=True)
    )
    if task == "classes" or not fits:
        allowed = "integers (n,)" if task == "classes" else f"floats {('n', *output_shape)} or integers (n,)"
        raise ModelError(
            f"labels of {model}'s samples are {given.dtype} of shape {given.shape}; allowed: {allowed}"
        )
    return given.astype(np.float32)

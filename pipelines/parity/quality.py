"""What outputs are worth: accuracy where they choose a class, an error where they do not. Pure functions."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from models.spec import FloatArray, ModelSpec, Samples, Tolerance
from models.truth import Task

# The largest float stands for an error beyond measure: JSON has no infinity.
WORST = float(np.finfo(np.float64).max)

# Labels are believed to be classes when the source model agrees with them better than chance does, by so many
# standard errors (the z-score of Cohen's kappa).
KAPPA_Z = 3.0
PROBABILITY_THRESHOLD, LOGIT_THRESHOLD = 0.5, 0.0
MATRIX = 2
# A column that differs between samples by less than so many tolerances is measured as if by so many.
SPREAD_FACTOR = 100.0

Choices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Expectation:
    """The source model's outputs (n, …) on the held-out samples, what is right for them, and the tolerance.

    `labels` (n,) are classes, `targets` (n, …) values; each None if not known. Above `threshold` a single
    column chooses class 1; None: 0.5 if the outputs are all within [0, 1], as probabilities are, else 0.
    """

    outputs: FloatArray
    labels: npt.NDArray[np.int64] | None
    tolerance: Tolerance
    task: Task = "classes"
    targets: FloatArray | None = None
    threshold: float | None = None

    def __post_init__(self) -> None:
        if self.threshold is None:
            within = self.outputs.size and self.outputs.min() >= 0 and self.outputs.max() <= 1
            object.__setattr__(self, "threshold", PROBABILITY_THRESHOLD if within else LOGIT_THRESHOLD)

    def first(self, count: int) -> "Expectation":
        """The same about the first `count` samples."""
        labels = None if self.labels is None else self.labels[:count]
        targets = None if self.targets is None else self.targets[:count]
        return replace(self, outputs=self.outputs[:count], labels=labels, targets=targets)

    def choices(self, outputs: FloatArray) -> Choices | None:
        """The class that each row of `outputs` (n, k) or (n,) chooses; None where these are no scores."""
        if self.task != "classes" or not 1 <= outputs.ndim <= MATRIX:
            return None
        if outputs.ndim == MATRIX and outputs.shape[1] > 1:
            return np.asarray(outputs.argmax(axis=1), np.int64)
        return np.greater(outputs.reshape(len(outputs)), self.threshold or 0).astype(np.int64)

    def accuracy(self, outputs: FloatArray) -> float | None:
        """Share of samples whose choice is the label's; None without labels or choices."""
        return _share(self.choices(outputs), self.labels)

    def agreement(self, outputs: FloatArray) -> float | None:
        """Share of samples whose choice is the source model's; None where there is no choice."""
        return _share(self.choices(outputs), self.choices(self.outputs))

    def target_rmse(self, outputs: FloatArray) -> float | None:
        """Root mean square error against the targets; None if there are none."""
        return None if self.targets is None else rmse(outputs, self.targets)

    def output_error(self, outputs: FloatArray) -> float:
        """Root mean square error against the source model's outputs, in their standard deviations.

        Always answering the mean gives 1. Scores of classes share one scale and are taken together. Other
        outputs may have a scale per column, so of these the worst column counts.
        """
        columns = self.outputs.shape[-1] if self.outputs.ndim > 1 and self.task != "classes" else 1
        expected = self.outputs.reshape(len(self.outputs), -1, columns)
        error = absolute_error(outputs.reshape(expected.shape), expected)
        deviation = np.sqrt(_mean_square(expected - expected.mean(axis=0, dtype=np.float64)))
        floor = SPREAD_FACTOR * self.tolerance.absolute
        with np.errstate(divide="ignore", invalid="ignore"):
            found = np.nan_to_num(np.sqrt(_mean_square(error)) / np.maximum(deviation, floor), posinf=WORST)
        return float(min(found.max(), WORST))


def expectation_of(spec: ModelSpec, samples: Samples, outputs: FloatArray) -> Expectation:
    """What artifacts of `spec` are held to, given the source model's `outputs` on `samples`.

    Raises:
        ModelError: the samples' labels do not fit the outputs.
    """
    truth = spec.truth(samples)
    derived = Expectation(
        outputs, truth.labels, spec.tolerance_of(spec.output.name), "classes", truth.targets
    )
    task = spec.task_of(spec.output.name) or _derive(derived)
    labels = truth.labels if task == "classes" else None
    return Expectation(outputs, labels, spec.tolerance_of(spec.output.name), task, truth.targets)


def _derive(known: Expectation) -> Task:
    """Targets make a regression; labels make classes if the source model knows them; else neither."""
    if known.targets is not None:
        return "regression"
    choices = known.choices(known.outputs)
    if choices is None or known.labels is None:
        return "none"
    return "classes" if kappa_z(choices, known.labels) >= KAPPA_Z else "none"


def kappa_z(choices: Choices, labels: Choices) -> float:
    """How many standard errors two raters agree above what their shares of each class give by chance."""
    classes = max(int(choices.max()), int(labels.max())) + 1
    shares = [np.bincount(each, minlength=classes) / len(labels) for each in (choices, labels)]
    by_chance = float(shares[0] @ shares[1])
    error = np.sqrt(by_chance * (1 - by_chance) / len(labels))
    return 0.0 if error == 0 else float(((choices == labels).mean() - by_chance) / error)


def absolute_error(got: FloatArray, expected: FloatArray) -> npt.NDArray[np.float64]:
    """|got - expected| in float64; `WORST` where either is not a number or infinite."""
    with np.errstate(invalid="ignore", over="ignore"):
        error = np.abs(got.astype(np.float64) - expected)
    return np.where(np.isfinite(error), error, WORST)


def rmse(got: FloatArray, expected: FloatArray) -> float:
    """Root of the mean square of got - expected; `WORST` where either is not a number or infinite."""
    return float(min(np.sqrt(_mean_square(absolute_error(got, expected)).mean()), WORST))


def _mean_square(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Over all but the last dimension."""
    with np.errstate(over="ignore"):
        squares: npt.NDArray[np.float64] = np.square(values).mean(axis=tuple(range(values.ndim - 1)))
    return squares


def _share(choices: Choices | None, wanted: Choices | None) -> float | None:
    if choices is None or wanted is None:
        return None
    return float((choices == wanted).mean())

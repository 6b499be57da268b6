"""What outputs are worth: accuracy where they choose a class, an error where they do not. Pure functions."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from models.spec import ModelSpec, Samples, Tolerance
from models.tensors import Array, Tensors, is_ragged, is_text
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
CHOOSING: tuple[Task, ...] = ("classes", "tokens")

Choices = npt.NDArray[np.int64]
Values = npt.NDArray[np.float64]


def is_discrete(array: Array) -> bool:
    """Return whether an array holds integers, truth values or strings, which are equal or not, never near."""
    first = np.asarray(array[0]) if is_ragged(array) and len(array) else array
    return first.dtype.kind in "biuS"


def flat(array: Array) -> Array:
    """Return all values of an array (values,), sample by sample, in their dtype."""
    if is_ragged(array):
        return np.concatenate([np.asarray(sample).reshape(-1) for sample in array])
    return np.ascontiguousarray(array).reshape(-1)


def shapes_of(array: Array) -> tuple[tuple[int, ...], ...]:
    """Return the shape of every sample, without the batch dimension."""
    if is_ragged(array):
        return tuple(np.asarray(sample).shape for sample in array)
    return (array.shape[1:],) * len(array)


def columns_of(array: Array) -> int:
    """Return how many values every sample has in its last dimension; 1 if it has none or they differ."""
    lasts = {shape[-1] if shape else 1 for shape in shapes_of(array)}
    return lasts.pop() if len(lasts) == 1 else 1


def rows_of(array: Array, columns: int) -> Values:
    """Return an array's values as float64 (positions, columns)."""
    return flat(array).astype(np.float64).reshape(-1, max(1, columns))


@dataclass(frozen=True)
class Expectation:
    """The source model's outputs (n, …) on the held-out samples, what is right for them, and the tolerance.

    Of one output. `labels` are classes, (n,) or, of tokens, one per position, where a negative one is not
    counted; `targets` (n, …) are values; each None if not known. Above `threshold` a single column chooses
    class 1; None: 0.5 if the outputs are all within [0, 1], as probabilities are, else 0. `reference` says in
    messages whose outputs they are.
    """

    outputs: Array
    labels: Array | None
    tolerance: Tolerance
    task: Task = "classes"
    targets: Array | None = None
    threshold: float | None = None
    name: str | None = None
    reference: str = "the source model"

    def __post_init__(self) -> None:
        if self.threshold is None:
            values = flat(self.outputs) if len(self.outputs) else np.zeros(0)
            within = values.size and not is_text(values) and values.min() >= 0 and values.max() <= 1
            object.__setattr__(self, "threshold", PROBABILITY_THRESHOLD if within else LOGIT_THRESHOLD)

    @property
    def discrete(self) -> bool:
        """Whether the outputs are whole numbers, truth values or strings."""
        return is_discrete(self.outputs)

    def first(self, count: int) -> "Expectation":
        """Return the expectation for the first `count` samples."""
        labels = None if self.labels is None else self.labels[:count]
        targets = None if self.targets is None else self.targets[:count]
        return replace(self, outputs=self.outputs[:count], labels=labels, targets=targets)

    def choices(self, outputs: Array) -> Choices | None:
        """Return the class that each row of `outputs` (n, k) or (n,), for tokens each position, chooses.

        Whole numbers are themselves what was chosen. None where these are no scores.
        """
        if is_text(outputs):
            return None
        if self.task != "regression" and self.discrete:
            values = flat(outputs)
            # As floats where JSON gave no dtype.
            classes = values if is_discrete(outputs) else np.where(np.isfinite(values), np.rint(values), -1)
            return np.asarray(classes, np.int64)
        if self.task == "tokens":
            return np.asarray(rows_of(outputs, columns_of(outputs)).argmax(axis=1), np.int64)
        if self.task != "classes" or is_ragged(outputs) or not 1 <= outputs.ndim <= MATRIX:
            return None
        if outputs.ndim == MATRIX and outputs.shape[1] > 1:
            return np.asarray(outputs.argmax(axis=1), np.int64)
        return np.greater(outputs.reshape(len(outputs)), self.threshold or 0).astype(np.int64)

    def accuracy(self, outputs: Array) -> float | None:
        """Return the share of samples, or positions, whose choice is the label's; None without either."""
        if self.task not in CHOOSING or self.labels is None:
            return None
        labels = np.asarray(flat(self.labels), np.int64)
        counted = labels >= 0
        choices = self.choices(outputs)
        return None if choices is None or not counted.any() else _share(choices[counted], labels[counted])

    def agreement(self, outputs: Array) -> float | None:
        """Return the share of choices, or strings, that are the source model's; None without a choice."""
        if is_text(self.outputs):
            return float((flat(outputs) == flat(self.outputs)).mean())
        return _share(self.choices(outputs), self.choices(self.outputs))

    def target_rmse(self, outputs: Array) -> float | None:
        """Return the root mean square error against the targets; None if there are none."""
        return None if self.targets is None else rmse(outputs, self.targets)

    def spread_error(self, outputs: Array) -> float | None:
        """Return a regression's largest error against the source model, as a share of the targets' range.

        Without targets, it is a share of the range of the source model's outputs; the worst of several
        columns counts.
        """
        if self.task != "regression":
            return None
        columns = columns_of(self.outputs)
        reference = rows_of(self.outputs if self.targets is None else self.targets, columns)
        spread = np.maximum(np.ptp(reference, axis=0), SPREAD_FACTOR * self.tolerance.absolute)
        error = absolute_error(outputs, self.outputs).reshape(-1, max(1, columns)).max(axis=0)
        return _finite(error, spread)

    def output_error(self, outputs: Array) -> float | None:
        """Return the root mean square error against the source model's outputs, in standard deviations.

        None of strings, which have none. Always answering the mean gives 1. Scores of classes, and pixels and
        the like, share one scale and are taken together. Quantities and tables may have a scale per column;
        of these the worst one counts.
        """
        if is_text(self.outputs):
            return None
        columns = columns_of(self.outputs) if self._has_scales() else 1
        error = absolute_error(outputs, self.outputs).reshape(-1, columns)
        deviation = np.sqrt(_mean_square(self._deviations().reshape(-1, columns)))
        return _finite(np.sqrt(_mean_square(error)), np.maximum(deviation, self._floor()))

    def _has_scales(self) -> bool:
        table = not is_ragged(self.outputs) and self.outputs.ndim == MATRIX
        return self.task == "regression" or (self.task == "none" and table)

    def _floor(self) -> float:
        return SPREAD_FACTOR * self.tolerance.absolute

    def _deviations(self) -> Values:
        """Return each value's distance from its mean over samples, over positions if shapes differ."""
        if is_ragged(self.outputs):
            rows = rows_of(self.outputs, columns_of(self.outputs))
        else:
            rows = self.outputs.astype(np.float64).reshape(len(self.outputs), -1)
        deviations: Values = (rows - rows.mean(axis=0)).reshape(-1)
        return deviations


@dataclass(frozen=True)
class Expectations:
    """What artifacts are held to at every output, by its name and in the order of the spec's outputs."""

    by_output: Mapping[str, Expectation]

    def __len__(self) -> int:
        return len(self.primary.outputs)

    def __iter__(self) -> Iterator[Expectation]:
        return iter(self.by_output.values())

    @property
    def primary(self) -> Expectation:
        """That of the first output."""
        return next(iter(self.by_output.values()))

    @property
    def tensors(self) -> dict[str, Array]:
        """The source model's outputs (n, …) by name."""
        return {name: expectation.outputs for name, expectation in self.by_output.items()}

    @property
    def source_accuracy(self) -> float | None:
        """The source model's accuracy at the first output that has one."""
        accuracies = (expectation.accuracy(expectation.outputs) for expectation in self)
        return next((accuracy for accuracy in accuracies if accuracy is not None), None)

    def first(self, count: int) -> "Expectations":
        """Return the expectations for the first `count` samples."""
        return Expectations({name: expectation.first(count) for name, expectation in self.by_output.items()})


def expectations_of(spec: ModelSpec, samples: Samples, outputs: Tensors) -> Expectations:
    """Return what artifacts of `spec` are held to, given the source model's `outputs` on `samples`.

    Of fewer outputs than samples, as of the first ones alone.

    Raises:
        ModelError: the samples' labels do not fit the outputs.
    """
    truths = spec.truths(samples)
    expectations = {}
    for name in (output.name for output in spec.outputs):
        known = truths[name].first(len(outputs[name]))
        labels, targets = known.labels, known.targets
        expectation = Expectation(
            outputs[name],
            labels,
            spec.tolerance_of(name),
            targets=targets,
            name=name,
            reference=_reference(spec),
        )
        task = spec.task_of(name) or _derive(expectation)
        expectations[name] = replace(expectation, task=task, labels=labels if task in CHOOSING else None)
    return Expectations(expectations)


def _reference(spec: ModelSpec) -> str:
    """Name what artifacts are held to: of imported files one of them, where there is no source model."""
    if spec.given is None:
        return Expectation.reference
    return f"the imported {spec.given.referred.kind} ({spec.given.referred.source})"


def _derive(expectation: Expectation) -> Task:
    """Derive the task: targets mean regression, labels that the source model knows classes, else none."""
    if expectation.targets is not None:
        return "regression"
    if expectation.labels is None:
        return "none"
    task: Task = "classes" if not is_ragged(expectation.labels) and expectation.labels.ndim == 1 else "tokens"
    choices, labels = replace(expectation, task=task).choices(expectation.outputs), flat(expectation.labels)
    if choices is None or not (labels >= 0).any() or choices.min() < 0:
        return "none"
    return task if kappa_z(choices[labels >= 0], labels[labels >= 0]) >= KAPPA_Z else "none"


def kappa_z(choices: Choices, labels: Choices) -> float:
    """Return by how many standard errors two raters agree more than chance, given their shares of classes."""
    classes = max(int(choices.max()), int(labels.max())) + 1
    shares = [np.bincount(each, minlength=classes) / len(labels) for each in (choices, labels)]
    by_chance = float(shares[0] @ shares[1])
    error = np.sqrt(by_chance * (1 - by_chance) / len(labels))
    return 0.0 if error == 0 else float(((choices == labels).mean() - by_chance) / error)


def absolute_error(got: Array, expected: Array) -> Values:
    """Return |got - expected| (values,) in float64; `WORST` where either is not a number or infinite.

    Whole numbers that differ do so by 1 at least, however large they are; strings that differ do so by 1.
    """
    actual, other = flat(got), flat(expected)
    if is_text(expected):
        return np.asarray(actual != other, np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        error = np.abs(actual.astype(np.float64) - other.astype(np.float64))
    if is_discrete(expected):
        error = np.where(_is_another(actual, other), np.maximum(error, 1), error)
    return np.where(np.isfinite(error), error, WORST)


def _is_another(got: Array, whole: Array) -> npt.NDArray[np.bool_]:
    """Return where two whole numbers differ, also beyond 2**53, where one float stands for several."""
    if got.dtype.kind != "f":
        return np.asarray(got != whole)
    within = np.isfinite(got) & (np.abs(got) < 2.0**63)
    exact = np.where(within, got, 0).astype(np.int64)
    return np.asarray(within & (exact == got) & (exact != whole))


def rmse(got: Array, expected: Array) -> float:
    """Return the root mean square of got - expected; `WORST` where either is not a number or infinite."""
    return min(float(np.sqrt(_mean_square(absolute_error(got, expected)))), WORST)


def _mean_square(values: Values) -> Values:
    """Average the squares over the first dimension."""
    with np.errstate(over="ignore"):
        squares: Values = np.square(values).mean(axis=0)
    return squares


def _finite(error: Values, scale: Values) -> float:
    """Return the largest error / scale; 0 / 0 counts as 0, and anything not finite as `WORST`."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        ratios: Values = np.nan_to_num(np.asarray(error / scale), posinf=WORST)
    return min(float(ratios.max()), WORST)


def _share(choices: Choices | None, wanted: Choices | None) -> float | None:
    if choices is None or wanted is None:
        return None
    return float((choices == wanted).mean())

"""Do two sets of outputs agree? Pure functions on arrays; no framework, no files."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.spec import FloatArray, Tolerance
from pipelines.errors import GateError
from pipelines.record import ParityRecord

# The largest float stands for an error beyond measure: JSON has no infinity.
WORST = float(np.finfo(np.float64).max)

FULL_PRECISION = "float32"
# What a reduced precision may lose of the source model's accuracy, or of its first choices without labels.
MAX_ACCURACY_DROP = 0.01

# Outputs must differ between samples by this many tolerances, or agreeing on them proves nothing.
SPREAD_FACTOR = 100.0


@dataclass(frozen=True)
class Expectation:
    """The source model's outputs (n, …) on the held-out samples, their labels (n,), and the tolerance."""

    outputs: FloatArray
    labels: npt.NDArray[np.int64] | None
    tolerance: Tolerance

    def first(self, count: int) -> "Expectation":
        """The same about the first `count` samples."""
        labels = None if self.labels is None else self.labels[:count]
        return Expectation(self.outputs[:count], labels, self.tolerance)


def output_spread(outputs: FloatArray) -> float:
    """How far outputs differ between samples: the median over output elements of (largest - smallest)."""
    if len(outputs) == 0:
        return 0.0
    flat = outputs.reshape(len(outputs), -1)
    return float(np.median(flat.max(axis=0) - flat.min(axis=0)))


def require_spread(expected: Expectation) -> None:
    """Refuse samples that could not show a difference.

    A freshly initialised deep network answers almost the same to everything; any broken copy of it does too.

    Raises:
        GateError: the spread is below `SPREAD_FACTOR` absolute tolerances.
    """
    spread, needed = output_spread(expected.outputs), SPREAD_FACTOR * expected.tolerance.absolute
    if spread < needed:
        raise GateError(
            f"parity refused: the source model's outputs differ by {spread:.3g} between "
            f"{len(expected.outputs)} samples, at least {needed:.3g} is needed ({SPREAD_FACTOR:g} times the "
            "tolerance), so agreement would prove nothing; give samples whose outputs differ"
        )


def allowed_error(expected: FloatArray, tolerance: Tolerance) -> FloatArray:
    """The largest permitted |got - expected| for every element."""
    return (tolerance.absolute + tolerance.relative * np.abs(expected)).astype(np.float32)


def compare(
    subject: str, got: FloatArray, expected: Expectation, precision: str = FULL_PRECISION
) -> ParityRecord:
    """Compare outputs (n, …) with the source model's, element by element.

    What computes in float32 passes when every element is within tolerance. A reduced `precision` passes when
    it classifies as well: accuracy lower by `MAX_ACCURACY_DROP` at most or, without labels, so few other
    first choices. Outputs that are no classes are held to the tolerance at any precision.
    Relative errors are taken where |expected| is above the absolute tolerance: elsewhere they mean nothing.

    Raises:
        GateError: the shapes differ.
    """
    if got.shape != expected.outputs.shape:
        raise GateError(
            f"{subject} gives outputs of shape {got.shape}, the source model gives {expected.outputs.shape}"
        )
    error = absolute_error(got, expected.outputs)
    magnitude = np.abs(expected.outputs.astype(np.float64))
    meaningful = magnitude > expected.tolerance.absolute
    with np.errstate(over="ignore"):
        relative = np.divide(error, magnitude, where=meaningful, out=np.zeros_like(error))
    lost = None if precision == FULL_PRECISION else accuracy_drop(got, expected)
    close = error <= allowed_error(expected.outputs, expected.tolerance)
    return ParityRecord(
        subject=subject,
        passed=bool(close.all()) if lost is None else lost <= MAX_ACCURACY_DROP and bool(error.max() < WORST),
        samples_count=len(got),
        max_abs_error=float(error.max()),
        max_rel_error=float(min(relative.max(), WORST)),
        absolute_tolerance=expected.tolerance.absolute if lost is None else None,
        relative_tolerance=expected.tolerance.relative if lost is None else None,
        max_accuracy_drop=None if lost is None else MAX_ACCURACY_DROP,
        top1_agreement=_top1_agreement(got, expected.outputs),
        accuracy=accuracy(got, expected.labels),
    )


def accuracy_drop(got: FloatArray, expected: Expectation) -> float | None:
    """The source model's accuracy minus that of `got`, negative if it got better.

    Without labels the share of samples whose first choice is another; None for outputs that are no classes.
    Rounded to 1e-9, so that a drop of exactly a limit is not beyond it.
    """
    before, after = accuracy(expected.outputs, expected.labels), accuracy(got, expected.labels)
    if before is None or after is None:
        same = _top1_agreement(got, expected.outputs)
        return None if same is None else round(1 - same, 9)
    return round(before - after, 9)


def absolute_error(got: FloatArray, expected: FloatArray) -> npt.NDArray[np.float64]:
    """|got - expected| in float64; `WORST` where either is not a number or infinite."""
    with np.errstate(invalid="ignore", over="ignore"):
        error = np.abs(got.astype(np.float64) - expected)
    return np.where(np.isfinite(error), error, WORST)


def accuracy(outputs: FloatArray, labels: npt.NDArray[np.int64] | None) -> float | None:
    """Share of samples whose largest output is the label's; None without labels or for other shapes."""
    if labels is None or outputs.ndim != 2:  # noqa: PLR2004 - (samples, classes)
        return None
    return float((outputs.argmax(axis=1) == labels).mean())


def _top1_agreement(got: FloatArray, expected: FloatArray) -> float | None:
    if expected.ndim != 2:  # noqa: PLR2004 - (samples, classes)
        return None
    return float((got.argmax(axis=1) == expected.argmax(axis=1)).mean())


def explain_failure(record: ParityRecord, got: FloatArray, expected: Expectation) -> str:
    """One line that names subject, metric, found and allowed, and for a tolerance the worst sample."""
    if record.max_accuracy_drop is not None:
        return _explain_drop(record, record.max_accuracy_drop, got, expected)
    excess = absolute_error(got, expected.outputs) - allowed_error(expected.outputs, expected.tolerance)
    place = np.unravel_index(int(excess.argmax()), excess.shape)
    sample, element = int(place[0]), ", ".join(str(int(i)) for i in place[1:])
    beyond = int((excess.reshape(len(got), -1) > 0).any(axis=1).sum())
    return (
        f"{record.subject} is not the source model: sample {sample}, output [{element}]: "
        f"expected {expected.outputs[place]:.6g}, got {got[place]:.6g} (allowed ±"
        f"{allowed_error(expected.outputs, expected.tolerance)[place]:.2g}); "
        f"{beyond} of {record.samples_count} samples are outside tolerance"
    )


def _explain_drop(record: ParityRecord, allowed: float, got: FloatArray, expected: Expectation) -> str:
    if record.max_abs_error == WORST:
        return f"{record.subject} is not the source model: it gives outputs that are not finite numbers"
    lost = accuracy_drop(got, expected)
    before = accuracy(expected.outputs, expected.labels)
    found = (
        f"top-1 agreement {record.top1_agreement:.4f}, at least {1 - allowed:.4g} is allowed"
        if before is None
        else f"accuracy {record.accuracy:.4f}, the source model's is {before:.4f}: accuracy drop {lost:.4f}, "
        f"at most {allowed:g} is allowed"
    )
    return f"{record.subject} is not the source model: {found}"


def require_parity(record: ParityRecord, got: FloatArray, expected: Expectation) -> None:
    """Raises:
    GateError: the comparison failed; names subject, sample, expected and got.
    """
    if not record.passed:
        raise GateError(explain_failure(record, got, expected))

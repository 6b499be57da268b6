"""Do two sets of outputs agree? Pure functions on arrays; no framework, no files."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.spec import FloatArray, Tolerance
from pipelines.errors import GateError
from pipelines.record import ParityRecord

# The largest float stands for an error beyond measure: JSON has no infinity.
WORST = float(np.finfo(np.float64).max)

# Outputs must differ between samples by this many tolerances, or agreeing on them proves nothing.
SPREAD_FACTOR = 100.0


@dataclass(frozen=True)
class Expectation:
    """The source model's outputs (n, …) on the held-out samples, their labels (n,), and the tolerance."""

    outputs: FloatArray
    labels: npt.NDArray[np.int64] | None
    tolerance: Tolerance


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


def compare(subject: str, got: FloatArray, expected: Expectation) -> ParityRecord:
    """Compare outputs (n, …) with the source model's, element by element.

    Relative errors are taken where |expected| is above the absolute tolerance: elsewhere they mean nothing.
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
    return ParityRecord(
        subject=subject,
        passed=bool((error <= allowed_error(expected.outputs, expected.tolerance)).all()),
        samples_count=len(got),
        max_abs_error=float(error.max()),
        max_rel_error=float(min(relative.max(), WORST)),
        absolute_tolerance=expected.tolerance.absolute,
        relative_tolerance=expected.tolerance.relative,
        top1_agreement=_top1_agreement(got, expected.outputs),
        accuracy=accuracy(got, expected.labels),
    )


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
    """One line that names the worst sample of a failed comparison, with what was expected and got."""
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


def require_parity(record: ParityRecord, got: FloatArray, expected: Expectation) -> None:
    """Raises:
    GateError: the comparison failed; names subject, sample, expected and got.
    """
    if not record.passed:
        raise GateError(explain_failure(record, got, expected))

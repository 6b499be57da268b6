"""Do two sets of outputs agree? Pure functions on arrays; no framework, no files."""

import numpy as np
import numpy.typing as npt

from models.spec import FloatArray, Tolerance
from pipelines.errors import GateError
from pipelines.parity.quality import SPREAD_FACTOR, WORST, Expectation, absolute_error, rmse
from pipelines.record.parity import ParityRecord

FULL_PRECISION = "float32"
# What a reduced precision may lose of the source model's accuracy, or of its first choices without labels.
MAX_ACCURACY_DROP = 0.01
# What it may change of the outputs, in standard deviations: 96 and 99 % of their variance stay. Scores that
# choose a class are held to their choices as well, any other output is itself the answer.
CLASSES_ERROR, OTHER_ERROR = 0.2, 0.1
# Of the tolerance for reduced precisions, a precision that rounds less is allowed a part only.
REDUCED_SHARE = {"float16": 0.1}
# On so many samples a constant may be within tolerance: the source model may say the same of some of them.
MAX_CONSTANT_SHARE = 0.5


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
        GateError: the spread is below `SPREAD_FACTOR` absolute tolerances, or one constant answer would be
            within tolerance on most samples.
    """
    spread, needed = output_spread(expected.outputs), SPREAD_FACTOR * expected.tolerance.absolute
    if spread < needed:
        raise GateError(
            f"parity refused: the source model's outputs differ by {spread:.3g} between "
            f"{len(expected.outputs)} samples, at least {needed:.3g} is needed ({SPREAD_FACTOR:g} times the "
            "tolerance), so agreement would prove nothing; give samples whose outputs differ"
        )
    same = constant_share(expected)
    if same > MAX_CONSTANT_SHARE:
        raise GateError(
            "parity refused: answering every sample with the median output is within tolerance on "
            f"{same:.0%} of {len(expected.outputs)} samples, at most {MAX_CONSTANT_SHARE:.0%} is allowed; "
            f"give a relative tolerance below {expected.tolerance.relative:g} or samples whose outputs differ"
        )


def constant_share(expected: Expectation) -> float:
    """Share of samples for which the median output over all samples would be within tolerance."""
    flat = expected.outputs.reshape(len(expected.outputs), -1)
    close = np.abs(np.median(flat, axis=0) - flat) <= allowed_error(flat, expected.tolerance)
    return float(close.all(axis=1).mean())


def allowed_error(expected: FloatArray, tolerance: Tolerance) -> FloatArray:
    """The largest permitted |got - expected| for every element."""
    return (tolerance.absolute + tolerance.relative * np.abs(expected)).astype(np.float32)


def max_output_error(expected: Expectation, precision: str) -> float | None:
    """The largest `Expectation.output_error` that the precision may have; None where tolerances apply."""
    if precision == FULL_PRECISION:
        return None
    usual = CLASSES_ERROR if expected.task == "classes" else OTHER_ERROR
    allowed = usual if expected.tolerance.reduced is None else expected.tolerance.reduced
    return allowed * REDUCED_SHARE.get(precision, 1.0)


def compare(
    subject: str, got: FloatArray, expected: Expectation, precision: str = FULL_PRECISION
) -> ParityRecord:
    """Compare outputs (n, …) with the source model's.

    What computes in float32 passes when every element is within tolerance. A reduced `precision` passes when
    its outputs keep `max_output_error` and, if they choose classes, it chooses as well: accuracy lower by
    `MAX_ACCURACY_DROP` at most or, without labels, so few other choices.
    Relative errors are taken where |expected| is above the absolute tolerance: elsewhere they mean nothing.

    Raises:
        GateError: the shapes differ.
    """
    if got.shape != expected.outputs.shape:
        raise GateError(
            f"{subject} gives outputs of shape {got.shape}, the source model gives {expected.outputs.shape}"
        )
    error = absolute_error(got, expected.outputs)
    allowed = max_output_error(expected, precision)
    lost = None if allowed is None else accuracy_drop(got, expected)
    record = ParityRecord(
        subject=subject,
        passed=bool((error <= allowed_error(expected.outputs, expected.tolerance)).all()),
        samples_count=len(got),
        max_abs_error=float(error.max()),
        max_rel_error=_max_relative(error, expected),
        absolute_tolerance=expected.tolerance.absolute if allowed is None else None,
        relative_tolerance=expected.tolerance.relative if allowed is None else None,
        max_accuracy_drop=None if lost is None else MAX_ACCURACY_DROP,
        top1_agreement=expected.agreement(got),
        accuracy=expected.accuracy(got),
        rmse=rmse(got, expected.outputs),
        output_error=expected.output_error(got),
        max_output_error=allowed,
        target_rmse=expected.target_rmse(got),
    )
    return record if allowed is None else record.model_copy(update={"passed": not _lost(record, lost)})


def _max_relative(error: npt.NDArray[np.float64], expected: Expectation) -> float:
    magnitude = np.abs(expected.outputs.astype(np.float64))
    meaningful = magnitude > expected.tolerance.absolute
    with np.errstate(over="ignore"):
        relative = np.divide(error, magnitude, where=meaningful, out=np.zeros_like(error))
    return float(min(relative.max(), WORST))


def _lost(record: ParityRecord, drop: float | None) -> list[str]:
    """What a reduced precision lost too much of: metric, found and allowed."""
    dropped = drop is not None and drop > MAX_ACCURACY_DROP
    found = [_explain_drop(record, drop)] if drop is not None and dropped else []
    output = output_failure(record.output_error, record.max_output_error)
    return [*found, output] if output else found


def output_failure(found: float | None, allowed: float | None) -> str | None:
    """What is wrong with an output error beyond what its precision is allowed; None if it is kept."""
    if found is None or allowed is None or found <= allowed:
        return None
    if found == WORST:
        return "it gives outputs that are not finite numbers"
    return (
        f"output error {found:.3g} of the source model's standard deviation, at most {allowed:g} is allowed"
    )


def accuracy_drop(got: FloatArray, expected: Expectation) -> float | None:
    """The source model's accuracy minus that of `got`, negative if it got better.

    Without labels the share of samples whose choice is another; None for outputs that choose nothing.
    Rounded to 1e-9, so that a drop of exactly a limit is not beyond it.
    """
    before, after = expected.accuracy(expected.outputs), expected.accuracy(got)
    if before is None or after is None:
        same = expected.agreement(got)
        return None if same is None else round(1 - same, 9)
    return round(before - after, 9)


def explain_failure(record: ParityRecord, got: FloatArray, expected: Expectation) -> str:
    """One line that names subject, metric, found and allowed, and for a tolerance the worst sample."""
    if record.max_output_error is not None:
        lost = "; ".join(_lost(record, accuracy_drop(got, expected)))
        return f"{record.subject} is not the source model: {lost}"
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


def _explain_drop(record: ParityRecord, drop: float) -> str:
    if record.accuracy is None:
        return f"top-1 agreement {record.top1_agreement:.4f}, at least {1 - MAX_ACCURACY_DROP:.4g} is allowed"
    return (
        f"accuracy {record.accuracy:.4f}, the source model's is {record.accuracy + drop:.4f}: accuracy drop "
        f"{drop:.4f}, at most {MAX_ACCURACY_DROP:g} is allowed"
    )


def require_parity(record: ParityRecord, got: FloatArray, expected: Expectation) -> None:
    """Raises:
    GateError: the comparison failed; names subject, sample, expected and got.
    """
    if not record.passed:
        raise GateError(explain_failure(record, got, expected))

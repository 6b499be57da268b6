"""Do two sets of outputs agree? Pure functions on arrays; no framework, no files."""

import numpy as np
import numpy.typing as npt

from loadtests.reason import Figure
from models.spec import Tolerance
from models.tensors import Array, Tensors, is_ragged, is_text
from pipelines.errors import GateError
from pipelines.parity.quality import (
    SPREAD_FACTOR,
    WORST,
    Expectation,
    Expectations,
    Values,
    absolute_error,
    flat,
    rmse,
    rows_of,
    shapes_of,
)
from pipelines.parity.words import differences_line
from pipelines.record.parity import ParityRecord
from pipelines.record.reason import ReasonRecord, reason

FULL_PRECISION = "float32"
# What a reduced precision may lose of the source model's accuracy, or of its first choices without labels.
MAX_ACCURACY_DROP = 0.01
# What it may change of the outputs, in standard deviations: 96 and 99 % of their variance stay. Scores that
# choose a class are held to their choices as well, any other output is itself the answer. Of a regression no
# single answer may be further off than the second, as a share of the range of its targets.
CLASSES_ERROR, OTHER_ERROR = 0.2, 0.1
# Of the tolerance for reduced precisions, a precision that rounds less is allowed a part only.
REDUCED_SHARE = {"float16": 0.1}
# On so many samples a constant may be within tolerance: the source model may say the same of some of them.
MAX_CONSTANT_SHARE = 0.5


def output_spread(outputs: Array) -> float:
    """Return how far outputs differ between samples: the median over output elements of (largest - smallest).

    Where samples differ in shape, or hold whole numbers, of which most may never change: the largest of all.
    Of strings, how many different ones there are beside the first.
    """
    if len(outputs) == 0:
        return 0.0
    if is_text(outputs):
        return float(len(np.unique(flat(outputs))) - 1)
    if is_ragged(outputs):
        return float(np.ptp(flat(outputs).astype(np.float64)))
    ranges = np.ptp(outputs.reshape(len(outputs), -1).astype(np.float64), axis=0)
    return float(ranges.max() if outputs.dtype.kind in "biu" else np.median(ranges))


def require_spread(expected: Expectation) -> None:
    """Refuse samples that could not show a difference.

    A freshly initialised deep network answers almost the same to everything; any broken copy of it does too.

    Raises:
        GateError: the spread is below `SPREAD_FACTOR` absolute tolerances, or one constant answer would be
            within tolerance on most samples.
    """
    spread = output_spread(expected.outputs)
    needed = max(SPREAD_FACTOR * expected.tolerance.absolute, 1.0 if expected.discrete else 0.0)
    its = "" if expected.name is None else f" {expected.name!r}"
    if spread < needed or not spread:
        raise GateError(
            f"parity refused: {expected.reference}'s outputs{its} differ by {spread:.3g} between "
            f"{len(expected.outputs)} samples, at least {needed:.3g} is needed ({SPREAD_FACTOR:g} times the "
            "tolerance), so agreement would prove nothing; give samples whose outputs differ"
        )
    same = constant_share(expected)
    # Whole numbers are the same or not; a flag that is set on one sample in ten is one all the same.
    allowed = 1 - MAX_ACCURACY_DROP if expected.discrete else MAX_CONSTANT_SHARE
    if same > allowed:
        raise GateError(
            "parity refused: answering every sample with the median output is within tolerance on "
            f"{same:.0%} of {len(expected.outputs)} samples{its and f' of{its}'}, at most {allowed:.0%} is "
            f"allowed; give a relative tolerance below {expected.tolerance.relative:g} or samples whose "
            "outputs differ"
        )


def require_spreads(expected: Expectations) -> None:
    """Apply `require_spread` to every output, but for those that never change while others do.

    An output that is the same on every sample, as a mask or a table of anchors, is so by nature when another
    one shows that the samples differ: an artifact has to give that very constant. One that changes, but not
    by enough, proves nothing of itself, whatever the others do.

    Raises:
        GateError: as `require_spread`, with the output's name.
    """
    changing = [expectation for expectation in expected if not is_constant(expectation.outputs)]
    for expectation in changing or expected:
        require_spread(expectation)


def is_constant(outputs: Array) -> bool:
    """Return whether all samples have the very same output."""
    if len(set(shapes_of(outputs))) > 1:
        return False
    return all(np.array_equal(outputs[0], sample) for sample in outputs[1:])


def constant_share(expected: Expectation) -> float:
    """Return the share of samples for which the median output over all would be within tolerance.

    Of strings, the share of samples that have the most frequent one.
    """
    if is_text(expected.outputs):
        each = [np.asarray(sample).tobytes() for sample in expected.outputs]
        return max(each.count(value) for value in set(each)) / len(each)
    if is_ragged(expected.outputs):
        rows = rows_of(expected.outputs, 1)
    else:
        rows = expected.outputs.reshape(len(expected.outputs), -1).astype(np.float64)
    close = np.abs(np.median(rows, axis=0) - rows) <= allowed_error(rows, expected.tolerance)
    return float(close.all(axis=1).mean())


def allowed_error(expected: Array, tolerance: Tolerance) -> npt.NDArray[np.float64]:
    """Return the largest permitted |got - expected| for every element."""
    if is_text(expected):
        return np.zeros(expected.shape)
    allowed: Values = tolerance.absolute + tolerance.relative * np.abs(expected.astype(np.float64))
    return allowed


def max_output_error(expected: Expectation, precision: str) -> float | None:
    """Return the largest `Expectation.output_error` that the precision may have; None where tolerances apply.

    None also for whole numbers, which have no error, only right and wrong.
    """
    if precision == FULL_PRECISION or (expected.discrete and expected.task != "regression"):
        return None
    usual = OTHER_ERROR if expected.task in ("regression", "none") else CLASSES_ERROR
    allowed = usual if expected.tolerance.reduced is None else expected.tolerance.reduced
    return allowed * REDUCED_SHARE.get(precision, 1.0)


def compare_all(
    subject: str, got: Tensors, expected: Expectations, precision: str = FULL_PRECISION
) -> ParityRecord:
    """Compare every output with the source model's: passes only if each of them does.

    The record's errors are the worst of all outputs, its choices and accuracy those of the first output that
    has them; of several outputs `outputs` has each one's own.

    Raises:
        GateError: an output is missing, or its shapes or kind of numbers are others.
    """
    missing = [name for name in expected.by_output if name not in got]
    if missing:
        raise GateError(
            f"{subject} gives no output {missing[0]!r}; it gives {', '.join(map(repr, got)) or 'none'}"
        )
    each = [
        compare(subject, got[name], expectation, precision)
        for name, expectation in expected.by_output.items()
    ]
    return each[0] if len(each) == 1 else _worst(each)


def _worst(each: list[ParityRecord]) -> ParityRecord:
    def missed(record: ParityRecord) -> float:
        return (record.output_error or 0.0) / record.max_output_error if record.max_output_error else -1.0

    def first(name: str) -> float | None:
        return next((getattr(record, name) for record in each if getattr(record, name) is not None), None)

    def worst(name: str) -> float | None:
        values = [getattr(record, name) for record in each if getattr(record, name) is not None]
        return max(values, default=None)

    beyond = max(each, key=missed)
    reduced = beyond.max_output_error is not None
    return each[0].model_copy(
        update={
            "passed": all(record.passed for record in each),
            **{name: worst(name) for name in ("max_abs_error", "max_rel_error", "rmse")},
            **{
                name: first(name)
                for name in ("top1_agreement", "accuracy", "max_accuracy_drop", "target_rmse")
            },
            "spread_error": worst("spread_error"),
            "max_spread_error": first("max_spread_error"),
            "output_error": beyond.output_error if reduced else worst("output_error"),
            "max_output_error": beyond.max_output_error,
            "output": None,
            "task": None,
            "failures": (),
            "outputs": tuple(each),
        }
    )


def compare(subject: str, got: Array, expected: Expectation, precision: str = FULL_PRECISION) -> ParityRecord:
    """Compare one output (n, …) with the source model's.

    What computes in float32 passes when every element is within tolerance. A reduced `precision` passes when
    its outputs keep `max_output_error` and, if they choose classes, it chooses as well: accuracy lower by
    `MAX_ACCURACY_DROP` at most or, without labels, so few other choices; of a regression also its largest
    error is within that share of the targets' range.
    Relative errors are taken where |expected| is above the absolute tolerance: elsewhere they mean nothing.

    Raises:
        GateError: the shapes differ.
    """
    _require_shapes(subject, got, expected)
    if is_text(got) != is_text(expected.outputs):
        got_kind, other = ("strings", "numbers") if is_text(got) else ("numbers", "strings")
        raise GateError(f"{subject} gives {got_kind} where {expected.reference} gives {other}")
    error, wanted = absolute_error(got, expected.outputs), flat(expected.outputs)
    reduced, allowed = precision != FULL_PRECISION, max_output_error(expected, precision)
    lost = accuracy_drop(got, expected)
    record = ParityRecord(
        subject=subject,
        passed=bool((error <= allowed_error(wanted, expected.tolerance)).all()),
        samples_count=len(got),
        max_abs_error=float(error.max()),
        max_rel_error=0.0 if is_text(wanted) else _max_relative(error, wanted, expected.tolerance),
        absolute_tolerance=None if reduced else expected.tolerance.absolute,
        relative_tolerance=None if reduced else expected.tolerance.relative,
        max_accuracy_drop=MAX_ACCURACY_DROP if reduced and lost is not None else None,
        top1_agreement=expected.agreement(got),
        accuracy=expected.accuracy(got),
        rmse=None if is_text(wanted) else rmse(got, expected.outputs),
        output_error=expected.output_error(got),
        max_output_error=allowed,
        target_rmse=expected.target_rmse(got),
        output=expected.name,
        task=expected.task,
        accuracy_drop=lost if expected.labels is not None else None,
        spread_error=expected.spread_error(got),
        max_spread_error=allowed if expected.task == "regression" else None,
    )
    if reduced:
        failures = _lost(record)
        return record.model_copy(update={"passed": not failures, "failures": failures})
    return record if record.passed else record.model_copy(update={"failures": (_outside(got, expected),)})


def _require_shapes(subject: str, got: Array, expected: Expectation) -> None:
    its = "" if expected.name is None else f" {expected.name!r}"
    wanted = expected.outputs
    if is_ragged(got) or is_ragged(wanted):
        if len(got) != len(wanted):
            raise GateError(f"{subject} gives {len(got)} outputs{its} for {len(wanted)} samples")
        for place, (shape, right) in enumerate(zip(shapes_of(got), shapes_of(wanted), strict=True)):
            if shape != right:
                raise GateError(
                    f"{subject} gives an output{its} of shape {shape} for sample {place}, "
                    f"{expected.reference} gives {right}"
                )
    elif got.shape != wanted.shape:
        raise GateError(
            f"{subject} gives outputs{its} of shape {got.shape}, {expected.reference} gives {wanted.shape}"
        )


def _max_relative(error: Values, wanted: Array, tolerance: Tolerance) -> float:
    magnitude = np.abs(wanted.astype(np.float64))
    meaningful = magnitude > tolerance.absolute
    with np.errstate(over="ignore"):
        relative = np.divide(error, magnitude, where=meaningful, out=np.zeros_like(error))
    return float(min(relative.max(), WORST))


def _lost(record: ParityRecord) -> tuple[ReasonRecord, ...]:
    """Return what a reduced precision lost too much of at one output."""
    failures = (
        drop_failure(record, MAX_ACCURACY_DROP),
        output_failure(record.output_error, record.max_output_error),
        spread_failure(record.spread_error, record.max_spread_error),
    )
    return tuple(failure for failure in failures if failure)


def drop_failure(record: ParityRecord, allowed: float) -> ReasonRecord | None:
    """Return a lost accuracy, or changed choices where there are no labels; None if they are kept."""
    if record.accuracy is not None and record.accuracy_drop is not None:
        return accuracy_failure(record.accuracy, record.accuracy_drop, allowed)
    if record.top1_agreement is None:
        return None
    code = "top1_agreement" if record.task == "classes" else "agreement"
    return agreement_failure(record.top1_agreement, allowed, code)


def accuracy_failure(accuracy: float, drop: float, allowed: float) -> ReasonRecord | None:
    """Return a drop of the source model's accuracy beyond what is allowed; None if it is within that."""
    if drop <= allowed:
        return None
    return reason("accuracy_drop", accuracy=accuracy, accuracy_drop=drop, limit=allowed)


def agreement_failure(share: float, allowed: float, code: str) -> ReasonRecord | None:
    """Return the share of samples with the source model's choice if too many have another one, else None."""
    if round(1 - share - allowed, 9) <= 0:
        return None
    return reason(code, share=share, limit=round(1 - allowed, 9))


def output_failure(error: float | None, allowed: float | None) -> ReasonRecord | None:
    """Return an output error beyond what its precision is allowed; None if it is within that."""
    if error is None or allowed is None or error <= allowed:
        return None
    return reason("not_finite") if error == WORST else reason("output_error", error=error, limit=allowed)


def spread_failure(error: float | None, allowed: float | None) -> ReasonRecord | None:
    """Return a regression's largest error if it is beyond what is allowed; None if it is within that."""
    if error is None or allowed is None or error <= allowed or error == WORST:
        return None
    return reason("spread_error", error=error, limit=allowed)


def accuracy_drop(got: Array, expected: Expectation) -> float | None:
    """Return the source model's accuracy minus that of `got`, negative if it got better.

    Without labels, return the share of samples whose choice changed; None for outputs that choose nothing.
    Rounded to 1e-9, so that a drop of exactly a limit is not beyond it.
    """
    before, after = expected.accuracy(expected.outputs), expected.accuracy(got)
    if before is None or after is None:
        same = expected.agreement(got)
        return None if same is None else round(1 - same, 9)
    return round(before - after, 9)


def differences(record: ParityRecord) -> tuple[ReasonRecord, ...]:
    """Return why the first output that does not pass does not, with its name and those of the others.

    The figure `output` is its name where there are several, `also` are the others that do not pass.
    """
    failed = [output for output in record.outputs or (record,) if not output.passed]
    if not failed or not record.outputs:
        return failed[0].failures if failed else ()
    named: dict[str, Figure] = {"output": failed[0].output or ""}
    if failed[1:]:
        named["also"] = tuple(output.output or "" for output in failed[1:])
    return tuple(why.model_copy(update={"figures": {**why.figures, **named}}) for why in failed[0].failures)


def explain(record: ParityRecord, reference: str = Expectation.reference) -> str:
    """Explain a failure in one line: subject, metric, measured, allowed, and a tolerance's worst sample."""
    return f"{record.subject} is not {reference}: {differences_line(differences(record), reference)}"


def _outside(got: Array, expected: Expectation) -> ReasonRecord:
    """Return the element that is furthest outside tolerance, and how many samples have one."""
    wanted, actual = flat(expected.outputs), flat(got)
    allowed = allowed_error(wanted, expected.tolerance)
    excess = absolute_error(got, expected.outputs) - allowed
    worst = int(excess.argmax())
    sizes = np.cumsum([int(np.prod(shape)) for shape in shapes_of(expected.outputs)])
    sample = int(np.searchsorted(sizes, worst, side="right"))
    shape = shapes_of(expected.outputs)[sample]
    place = np.unravel_index(worst - (int(sizes[sample - 1]) if sample else 0), shape or (1,))
    return reason(
        "outside_tolerance",
        sample=sample,
        place=tuple(map(int, place)) if shape else (),
        expected=_figure(wanted[worst]),
        got=_figure(actual[worst]),
        allowed=_figure(allowed[worst]),
        outside_count=len(set(np.searchsorted(sizes, np.flatnonzero(excess > 0), side="right").tolist())),
        samples_count=len(got),
    )


def _figure(value: object) -> int | float | str:
    """Return a value of an output as run.json can hold it; what JSON has no number for, as text."""
    if isinstance(value, np.integer):
        return int(value)
    if isinstance(value, np.floating) and np.isfinite(value):
        return float(value)
    return shown(value)


def shown(value: object) -> str:
    """Write a value of an output for a message."""
    if isinstance(value, bytes):
        return f"{value.decode(errors='backslashreplace')!r:.80}"
    return str(value) if isinstance(value, np.integer | np.bool_) else f"{value:.6g}"


def require(record: ParityRecord, reference: str = Expectation.reference) -> None:
    """Raise GateError if the comparison failed, with subject, sample, expected and got."""
    if not record.passed:
        raise GateError(explain(record, reference))

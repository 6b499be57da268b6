"""Plain English of parity: what an output is, and how an answer differs from the source model's."""

from collections.abc import Iterable, Mapping
from typing import Any

from pipelines.console import format as fmt
from pipelines.parity.quality import Expectation
from pipelines.record.reason import ReasonRecord


def source_worth(expected: Expectation) -> str:
    """Describe an output: its name, its kind, and its reference's own figure."""
    return f"output {expected.name}: {worth(expected)}"


def worth(expected: Expectation) -> str:
    """Describe an output without its name."""
    accuracy, rmse = expected.accuracy(expected.outputs), expected.target_rmse(expected.outputs)
    if accuracy is not None:
        what = "every position a class" if expected.task == "tokens" else "classes"
        return f"{what}, {expected.reference}'s accuracy is {fmt.percent(accuracy)}"
    if rmse is not None:
        return f"a regression, {expected.reference}'s RMSE to its targets is {fmt.significant(rmse)}"
    if expected.task == "none":
        return f"held to {expected.reference}'s own outputs; the samples' labels say nothing of it"
    return f"{expected.task}, without labels: held to {expected.reference}'s own outputs"


DIFFERENCES: Mapping[str, str] = {
    "accuracy_drop": "accuracy {accuracy:.4f}, {reference}'s is {before:.4f}: accuracy drop "
    "{accuracy_drop:.4f}, at most {limit:g} is allowed",
    "top1_agreement": "top-1 agreement {share:.4f}, at least {limit:.4g} is allowed",
    "agreement": "agreement {share:.4f}, at least {limit:.4g} is allowed",
    "output_error": "output error {error:.3g} of {reference}'s standard deviation, at most {limit:g} is "
    "allowed",
    "not_finite": "it gives outputs that are not finite numbers",
    "spread_error": "largest error {error:.3g} of the range of its targets, at most {limit:g} is allowed",
    "outside_tolerance": "sample {sample}, output {element}: expected {wanted}, got {given} "
    "(allowed ±{within}); {outside_count} of {samples_count} samples are outside tolerance",
}


def difference(why: ReasonRecord, reference: str = Expectation.reference) -> str:
    """Say what differs: metric, measured and allowed, without the output's name."""
    return DIFFERENCES[why.code].format(reference=reference, **why.figures, **_composed(why))


def differences_line(reasons: Iterable[ReasonRecord], reference: str = Expectation.reference) -> str:
    """Say all that differs at one output, its name where there are several, and which others differ."""
    reasons = tuple(reasons)
    figures: Mapping[str, Any] = reasons[0].figures if reasons else {}
    name = f"output {figures['output']!r}: " if "output" in figures else ""
    others = ", ".join(map(repr, figures.get("also", ())))
    line = "; ".join(difference(why, reference) for why in reasons)
    return f"{name}{line}{f'; also {others}' if others else ''}"


def _composed(why: ReasonRecord) -> dict[str, Any]:
    figures: Mapping[str, Any] = why.figures
    if why.code == "accuracy_drop":
        return {"before": figures["accuracy"] + figures["accuracy_drop"]}
    if why.code != "outside_tolerance":
        return {}
    place = ", ".join(f"{index:.0f}" for index in figures["place"])
    return {
        "element": f"[{place}]" if place else "",
        "wanted": _value(figures["expected"]),
        "given": _value(figures["got"]),
        "within": _value(figures["allowed"], digits=2),
    }


def _value(value: float | str, digits: int = 6) -> str:
    return f"{value:.{digits}g}" if isinstance(value, float) else str(value)

"""What an output is and how good the source model is at it, in one line of plain English."""

from pipelines.console import format as fmt
from pipelines.parity.quality import Expectation


def source_worth(expected: Expectation) -> str:
    """Describe an output: its name, its kind, and its reference's own figure."""
    name, accuracy = f"output {expected.name}", expected.accuracy(expected.outputs)
    rmse = expected.target_rmse(expected.outputs)
    if accuracy is not None:
        what = "every position a class" if expected.task == "tokens" else "classes"
        return f"{name}: {what}, {expected.reference}'s accuracy is {fmt.percent(accuracy)}"
    if rmse is not None:
        return f"{name}: a regression, {expected.reference}'s RMSE to its targets is {fmt.significant(rmse)}"
    if expected.task == "none":
        return f"{name}: held to {expected.reference}'s own outputs; the samples' labels say nothing of it"
    return f"{name}: {expected.task}, without labels: held to {expected.reference}'s own outputs"

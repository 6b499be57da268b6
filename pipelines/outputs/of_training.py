"""The checks and figures of trainings that were compared, as they stand in run.json."""

from collections.abc import Iterator
from typing import Final

from pipelines.outputs.facts import Check, Figure, State
from pipelines.record.training import TrainingComparisonRecord, TrainingMeasure, TrainingRecord
from pipelines.report.training import NAMES, why

UNITS: Final[dict[TrainingMeasure, str]] = {
    "epoch_s": "s",
    "first_epoch_s": "s",
    "samples_per_s": "per_s",
    "peak_memory_bytes": "bytes",
    "accuracy": "share",
}
HIGHER_IS_BETTER: Final = ("samples_per_s", "accuracy")


def figures(labels: dict[str, str], training: TrainingRecord) -> Iterator[Figure]:
    """Yield ratios first, then what each framework took."""
    for comparison in training.comparisons:
        if comparison.ratio is not None:
            sides = {"target": comparison.candidate, "against": comparison.baseline}
            low, high = comparison.interval or (None, None)
            yield Figure(
                labels | sides,
                f"{NAMES[comparison.measure]} ratio",
                "ratio",
                comparison.ratio,
                True,
                low,
                high,
            )
    for figure in training.figures:
        low, high = figure.interval or (None, None)
        yield Figure(
            labels | {"target": figure.framework},
            f"training {NAMES[figure.measure]}",
            UNITS[figure.measure],
            figure.value,
            figure.measure not in HIGHER_IS_BETTER,
            low,
            high,
        )


def checks(training: TrainingRecord) -> Iterator[Check]:
    """Yield a check of whether each comparison is decided."""
    yield from map(_verdict, training.comparisons)


def _verdict(comparison: TrainingComparisonRecord) -> Check:
    state: State = "skipped" if comparison.verdict in (None, "inconclusive") else "passed"
    subject = f"{comparison.candidate} against {comparison.baseline}"
    detail = f"{comparison.verdict or 'no verdict'}: {why(comparison)}"
    return Check(subject, NAMES[comparison.measure], "the comparison is decided", state, detail)

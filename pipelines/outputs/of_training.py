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
    for one in training.comparisons:
        if one.ratio is not None:
            sides = {"target": one.candidate, "against": one.baseline}
            low, high = one.interval or (None, None)
            yield Figure(labels | sides, f"{NAMES[one.measure]} ratio", "ratio", one.ratio, True, low, high)
    for found in training.figures:
        low, high = found.interval or (None, None)
        yield Figure(
            labels | {"target": found.framework},
            f"training {NAMES[found.measure]}",
            UNITS[found.measure],
            found.value,
            found.measure not in HIGHER_IS_BETTER,
            low,
            high,
        )


def checks(training: TrainingRecord) -> Iterator[Check]:
    """Yield a check of whether each comparison is decided."""
    yield from map(_verdict, training.comparisons)


def _verdict(one: TrainingComparisonRecord) -> Check:
    state: State = "skipped" if one.verdict in (None, "inconclusive") else "passed"
    subject = f"{one.candidate} against {one.baseline}"
    found = f"{one.verdict or 'no verdict'}: {why(one)}"
    return Check(subject, NAMES[one.measure], "the comparison is decided", state, found)

"""From single trainings to figures over seeds, noise floors and verdicts; the rules are those of rounds.

A seed takes the place of a block: both frameworks begin it with the same weights and the same order of data,
so that the pairs are of one seed, and the intervals are over seeds.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Final

from loadtests.intervals import RatioEstimate, RatioInterval, estimate_ratio
from loadtests.multiplicity import Corrected, holm
from loadtests.verdict import Verdict, decide, larger_floor, noise_floor
from pipelines.record.reason import reason, recorded
from pipelines.record.training import (
    Framework,
    OneTrainingRecord,
    TrainingComparisonRecord,
    TrainingControlRecord,
    TrainingFigureRecord,
    TrainingMeasure,
    TrainingRecord,
)

PRIMARY: Final[TrainingMeasure] = "epoch_s"
JUDGED: Final[tuple[TrainingMeasure, ...]] = ("epoch_s", "first_epoch_s", "peak_memory_bytes", "accuracy")
MEASURES: Final[tuple[TrainingMeasure, ...]] = ("samples_per_s", *JUDGED)
TIMES: Final = frozenset({"epoch_s", "first_epoch_s", "samples_per_s"})
HIGHER_IS_BETTER: Final = frozenset({"samples_per_s", "accuracy"})
MARGIN: Final = 0.05
ACCURACY_MARGIN: Final = 0.01
"""A percentage point: a relative difference of accuracies near 1 would never be one."""


def refigured(record: TrainingRecord) -> TrainingRecord:
    """Compute again every figure that follows from the record's trainings."""
    seed = record.seeds[0] if record.seeds else 0
    controls = tuple(_controls(record, seed))
    return record.model_copy(
        update={
            "figures": tuple(_figures(record, seed)),
            "controls": controls,
            "comparisons": _comparisons(record, controls, seed),
        }
    )


def measured(training: OneTrainingRecord, measure: TrainingMeasure, samples_count: int) -> float | None:
    """Return a measure of one training; None for that of warm epochs where there is only the first.

    Seconds of an epoch are the mean of all but the first, which compiles, allocates and fills caches.
    """
    warm = [epoch.elapsed_s for epoch in training.epochs[1:]]
    epoch_s = math.fsum(warm) / len(warm) if warm else None
    measures: Mapping[TrainingMeasure, float | None] = {
        "epoch_s": epoch_s,
        "first_epoch_s": training.epochs[0].elapsed_s,
        "samples_per_s": samples_count / epoch_s if epoch_s else None,
        "peak_memory_bytes": float(training.peak_memory_bytes),
        "accuracy": training.accuracy,
    }
    return measures[measure]


def _into(measure: TrainingMeasure) -> Callable[[float], float]:
    """Return the scale on which differences are taken: linear for accuracy, else logarithmic."""
    return float if measure == "accuracy" else math.log


def _back(measure: TrainingMeasure, value: float) -> float:
    """Convert a factor, as the statistics have it, to what the record holds."""
    return math.log(value) if measure == "accuracy" else value


def _ends(measure: TrainingMeasure, interval: RatioInterval | None) -> tuple[float, float] | None:
    return (_back(measure, interval.low), _back(measure, interval.high)) if interval else None


def _by_seed(
    record: TrainingRecord, framework: Framework, role: str, measure: TrainingMeasure
) -> dict[int, float]:
    """Return the measure on its scale, of every training; times only of those that nothing disturbed."""
    by_seed = {}
    for training in record.trainings:
        if (training.valid or measure not in TIMES) and (training.framework, training.role) == (
            framework,
            role,
        ):
            value = measured(training, measure, record.samples_count)
            if value is not None and (value > 0 or measure == "accuracy"):
                by_seed[training.seed] = _into(measure)(value)
    return by_seed


def _figures(record: TrainingRecord, seed: int) -> Iterator[TrainingFigureRecord]:
    for framework in record.frameworks:
        for measure in MEASURES:
            own = list(_by_seed(record, framework, "compared", measure).values())
            if own:
                centre = math.fsum(own) / len(own)
                estimate = estimate_ratio([[value - centre] for value in own], seed=seed)
                interval = estimate.interval() if estimate else None
                shift = partial(_shifted, measure, centre)
                yield TrainingFigureRecord(
                    framework=framework,
                    measure=measure,
                    value=shift(1.0),
                    interval=(shift(interval.low), shift(interval.high)) if interval else None,
                    seeds_count=len(own),
                )


def _shifted(measure: TrainingMeasure, centre: float, factor: float) -> float:
    value = centre + math.log(factor)
    # A share has ends that the interval of a mean knows nothing of.
    return min(max(value, 0.0), 1.0) if measure == "accuracy" else math.exp(value)


def _pairs(ours: Mapping[int, float], theirs: Mapping[int, float]) -> list[list[float]]:
    return [[ours[seed] - theirs[seed]] for seed in sorted(ours.keys() & theirs.keys())]


def _controls(record: TrainingRecord, seed: int) -> Iterator[TrainingControlRecord]:
    for framework in record.frameworks:
        for measure in JUDGED:
            pairs = _pairs(
                _by_seed(record, framework, "control", measure),
                _by_seed(record, framework, "compared", measure),
            )
            estimate = estimate_ratio(pairs, seed=seed)
            interval = estimate.interval() if estimate else None
            floor = noise_floor(interval)
            yield TrainingControlRecord(
                framework=framework,
                measure=measure,
                interval=_ends(measure, interval),
                pairs_count=len(pairs),
                noise_floor=floor if floor is None or measure != "accuracy" else math.log1p(floor),
            )


def _comparisons(
    record: TrainingRecord, controls: tuple[TrainingControlRecord, ...], seed: int
) -> tuple[TrainingComparisonRecord, ...]:
    if len(record.frameworks) < 2:  # noqa: PLR2004 - a comparison takes two
        return ()
    candidate, baseline = record.frameworks
    floors = {(control.framework, control.measure): control.noise_floor for control in controls}
    pairs = {
        measure: _pairs(
            _by_seed(record, candidate, "compared", measure), _by_seed(record, baseline, "compared", measure)
        )
        for measure in JUDGED
    }
    estimates = {measure: estimate_ratio(own, seed=seed) for measure, own in pairs.items()}
    known_estimates = {measure: estimate for measure, estimate in estimates.items() if estimate}
    both = {measure: (floors[candidate, measure], floors[baseline, measure]) for measure in JUDGED}
    corrected: dict[TrainingMeasure, Corrected] = {}
    for is_primary in (True, False):
        family = [measure for measure in known_estimates if (measure == PRIMARY) == is_primary]
        judges = [
            partial(_verdict, measure, known_estimates[measure], both[measure], record.frameworks)
            for measure in family
        ]
        corrected |= dict(zip(family, holm(judges), strict=True))
    return tuple(
        _comparison(
            record, measure, pairs[measure], estimates[measure], corrected.get(measure), both[measure]
        )
        for measure in JUDGED
    )


def _margin(measure: TrainingMeasure) -> float:
    return ACCURACY_MARGIN if measure == "accuracy" else MARGIN


def _verdict(
    measure: TrainingMeasure,
    estimate: RatioEstimate,
    floors: tuple[float | None, float | None],
    frameworks: tuple[Framework, ...],
    confidence: float,
) -> Verdict:
    floor = larger_floor(floors)
    factor = math.expm1 if measure == "accuracy" else float
    return decide(
        estimate.interval(confidence),
        lower_is_better=measure not in HIGHER_IS_BETTER,
        margin=factor(_margin(measure)),
        noise_floor=None if floor is None else factor(floor),
        without_floor=[name for name, own_floor in zip(frameworks, floors, strict=True) if own_floor is None],
    )


def _comparison(
    record: TrainingRecord,
    measure: TrainingMeasure,
    pairs: list[list[float]],
    estimate: RatioEstimate | None,
    corrected: Corrected | None,
    floors: tuple[float | None, float | None],
) -> TrainingComparisonRecord:
    usual = estimate.interval() if estimate else None
    alone = pairs[0][0] if len(pairs) == 1 else None
    centre = math.log(usual.ratio) if usual else alone
    is_accuracy = measure == "accuracy"
    judged = estimate.interval(corrected.confidence) if corrected and estimate else None
    return TrainingComparisonRecord(
        measure=measure,
        candidate=record.frameworks[0],
        baseline=record.frameworks[1],
        ratio=None if centre is None or is_accuracy else math.exp(centre),
        difference=centre if is_accuracy else None,
        interval=_ends(measure, usual),
        pairs_count=len(pairs),
        pair_values=tuple(value if is_accuracy else math.exp(value) for (value,) in pairs),
        margin=_margin(measure),
        noise_floor=larger_floor(floors),
        verdict=corrected.verdict.word if corrected else None,
        reason=recorded(corrected.verdict.reason) if corrected else reason("too_few_pairs"),
        seeds_needed=corrected.verdict.rounds_needed if corrected else None,
        is_primary=measure == PRIMARY,
        verdict_confidence=corrected.confidence if corrected else None,
        verdict_interval=_ends(measure, judged),
    )

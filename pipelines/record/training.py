"""One model trained in two frameworks, as run.json holds it."""

from typing import Literal

from pipelines.record.base import Record
from pipelines.record.reason import ReasonRecord

Framework = Literal["torch", "keras"]
TrainingMeasure = Literal["epoch_s", "first_epoch_s", "samples_per_s", "peak_memory_bytes", "accuracy"]


class EpochRecord(Record):
    """One epoch: its wall time, and the mean loss over its samples while the weights moved."""

    elapsed_s: float
    loss: float


class OneTrainingRecord(Record):
    """One training in a process of its own; trainings of one seed began with the same weights and data.

    `role` is `control` for the second training of the same framework and seed. `first_loss` is of the very
    first batch, before any step. `loaded_memory_bytes` is the process with its framework, the model and the
    data before the first step, `peak_memory_bytes` the most it held until the last one, both resident.
    `foreign_cores` and the two shares are of other programs and of the host while the process ran; of
    an invalid training the times feed nothing, its memory and accuracy do. `settings` is what the framework
    made of it by itself.
    """

    index: int
    seed: int
    framework: Framework
    role: Literal["compared", "control"]
    started_at_utc: str
    epochs: tuple[EpochRecord, ...]
    first_loss: float
    accuracy: float
    loaded_memory_bytes: int
    peak_memory_bytes: int
    foreign_cores: float | None
    foreign_cpu_share: float | None
    cpu_steal_share: float | None
    valid: bool
    invalid_reasons: tuple[ReasonRecord, ...]
    settings: dict[str, str]


class TrainingFigureRecord(Record):
    """One measure of one framework over the seeds, of times only where nothing disturbed the training.

    The geometric mean, of the accuracy the mean. `interval` is its 95 % interval over the seeds, null with
    fewer than two.
    """

    framework: Framework
    measure: TrainingMeasure
    value: float
    interval: tuple[float, float] | None
    seeds_count: int


class TrainingControlRecord(Record):
    """One framework against itself: the second training of each seed over the first.

    `noise_floor` is relative; of the accuracy it is a difference of shares, as its interval is.
    """

    framework: Framework
    measure: TrainingMeasure
    interval: tuple[float, float] | None
    pairs_count: int
    noise_floor: float | None


class TrainingComparisonRecord(Record):
    """The candidate against the baseline in one measure, seed by seed.

    `ratio` is candidate / baseline, and null of the accuracy, whose `difference` is candidate - baseline as a
    share; `interval`, `margin`, `noise_floor`, `pair_values` and `verdict_interval` are of whichever is not
    null. The rules are those of `ComparisonRecord`, with seeds in place of blocks. `seeds_needed` estimates
    how many more would decide.
    """

    measure: TrainingMeasure
    candidate: Framework
    baseline: Framework
    ratio: float | None
    difference: float | None
    interval: tuple[float, float] | None
    pairs_count: int
    pair_values: tuple[float, ...]
    margin: float
    noise_floor: float | None
    verdict: Literal["better", "worse", "equivalent", "inconclusive"] | None
    reason: ReasonRecord | None
    seeds_needed: int | None
    is_primary: bool
    verdict_confidence: float | None
    verdict_interval: tuple[float, float] | None


class TrainingRecord(Record):
    """All trainings of a run, and what follows from them.

    `samples_count` samples make an epoch of `steps_count` batches; accuracy is on `test_count` others.
    `kept_model` is the file of the Keras model of the first seed, relative to the run's folder, and
    `kept_spec` the model file beside it that every command takes; null unless it was asked for.
    """

    frameworks: tuple[Framework, ...]
    seeds: tuple[int, ...]
    epochs_count: int
    batch_size: int
    steps_count: int
    samples_count: int
    test_count: int
    learning_rate: float
    weight_decay: float
    cores: tuple[int, ...]
    trainings: tuple[OneTrainingRecord, ...]
    figures: tuple[TrainingFigureRecord, ...]
    controls: tuple[TrainingControlRecord, ...]
    comparisons: tuple[TrainingComparisonRecord, ...]
    kept_model: str | None
    kept_spec: str | None

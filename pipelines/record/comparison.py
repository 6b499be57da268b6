"""Ratios, controls and verdicts, as run.json holds them."""

from typing import Literal

from pipelines.record.base import Record
from pipelines.record.reason import ReasonRecord


class ComparisonRecord(Record):
    """Ratio candidate / baseline of one metric under one load, from paired valid rounds.

    `interval` is the 95 % interval of the ratio (docs/statistics.md), null with fewer than two pairs.
    `round_range` is the smallest and the largest ratio of a single pair. `margin` is the equivalence margin
    and `noise_floor` the larger one of the two sides, null without a usable control of each; both relative.
    `verdict` is about the candidate, null when there are too few valid rounds for one or the profile gives
    none; the code of `reason` is which rule gave it. It goes by `verdict_interval`, whose confidence is
    `verdict_confidence`: 95 % for the primary metric under one load, higher in a family of several
    (docs/statistics.md). `rounds_needed` estimates how many more rounds per target would decide an
    inconclusive one, null when more rounds would not.
    """

    load: str
    metric: str
    baseline: str
    candidate: str
    ratio: float | None
    interval: tuple[float, float] | None
    round_range: tuple[float, float] | None
    pairs_count: int
    blocks_count: int
    margin: float
    noise_floor: float | None
    verdict: Literal["better", "worse", "equivalent", "inconclusive"] | None
    reason: ReasonRecord | None
    rounds_needed: int | None
    is_primary: bool = False
    verdict_confidence: float | None = None
    verdict_interval: tuple[float, float] | None = None
    pair_ratios: tuple[float, ...] = ()


class ControlRecord(Record):
    """An A/A control: one target against a second server of itself, same machinery, same statistics.

    `noise_floor` is the relative difference that no difference at all can show here; a difference inside it
    is not called. It is `assumed`, and nothing else is there, where a run was decided before the side's
    control had its turn.
    """

    load: str
    metric: str
    target: str
    ratio: float | None
    interval: tuple[float, float] | None
    pairs_count: int
    noise_floor: float | None
    assumed: bool = False

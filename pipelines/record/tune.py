"""A search for the best configuration, as run.json holds it."""

from typing import Literal

from pipelines.record.base import Record
from pipelines.record.reason import ReasonRecord
from pipelines.record.rounds import RoundRecord
from pipelines.record.slo import RatePointRecord, SloRatioRecord


class TuneTrialRecord(Record):
    """One configuration that was tried, on a server of its own that was started for it.

    `levels` is what each axis was at, by its name, empty for a preset that stands beside the search;
    `settings` is all that the configuration set. `outcome` is as of an SLO search's block, or `beaten`: it
    did not keep the limit at what trial `beaten_by` did and was measured no further, or `failed`: it did not
    start, or died. `rate_per_s` is the highest rate that kept the limit, null without any; of one that was
    beaten it is a lower bound. `closed_throughput_per_s` is what the server answered at the end of its
    conditioning, `start_s` what it took to get there.
    """

    number: int
    preset: str
    levels: dict[str, str]
    settings: dict[str, bool | int | str | tuple[str | int, ...]]
    outcome: Literal["found", "lower_bound", "none", "not_measured", "beaten", "failed"]
    rate_per_s: float | None
    breaks_at_per_s: float | None
    beaten_by: int | None
    closed_throughput_per_s: float | None
    start_s: float | None
    duration_s: float
    reason: ReasonRecord | None
    points: tuple[RatePointRecord, ...] = ()
    rounds: tuple[RoundRecord, ...] = ()


class TuneClaimRecord(Record):
    """What fresh servers showed: the ratio of the winner's highest rate to that of the side `against`.

    As in an SLO search, a bound gives a one-sided statement and no ratio.
    """

    against: str
    ratio: float | None
    interval: tuple[float, float] | None
    ratio_at_least: float | None
    ratio_at_most: float | None
    block_ratios: tuple[SloRatioRecord, ...]
    reason: ReasonRecord | None


class TuneAxisRecord(Record):
    """What was varied: an axis with the labels of its levels in order, and which of them `base` has."""

    name: str
    setting: str
    levels: tuple[str, ...]
    start: str


class TuneSideRecord(Record):
    """The search of one side. `base` is the preset it started from, `winner` the number of the best trial.

    `ended` is why no more was tried: `summit` (no neighbour of the best is better), `time`, `generator` (the
    load generator is the limit), null while it goes on. `final` are the sides that fresh servers compared,
    the winner's first.
    """

    target: str
    base: str
    axes: tuple[TuneAxisRecord, ...]
    configurations_count: int
    trials: tuple[TuneTrialRecord, ...]
    winner: int | None
    ended: Literal["summit", "time", "generator"] | None
    final: tuple[str, ...] = ()
    claims: tuple[TuneClaimRecord, ...] = ()


class TuneRecord(Record):
    """A search for the configuration that sustains the highest rate within a limit of p99.

    `options` is what was typed, for `--resume`; `preset_file` where the winners were written, null before.
    `resolution` is relative: rates nearer to each other are not told apart while searching.
    """

    p99_limit_ms: float
    within_s: float
    elapsed_s: float
    resolution: float
    sides: dict[str, TuneSideRecord]
    options: dict[str, bool | int | float | str | tuple[str, ...] | None]
    preset_file: str | None

"""The search of one side: the presets that are shipped, the sweep, then around the best, trial by trial."""

from collections.abc import Callable, Sequence

from pipelines.record.tune import TuneAxisRecord, TuneSideRecord, TuneTrialRecord
from pipelines.targets.presets import Preset
from pipelines.tune.space import Point, Space, next_point
from pipelines.tune.trial import Candidate, Try, best_trial

Keep = Callable[[TuneSideRecord], None]


def empty_side(space: Space) -> TuneSideRecord:
    """Make the record of a search of which nothing is known yet."""
    return TuneSideRecord(
        target=space.target,
        base=space.base.name,
        axes=tuple(
            TuneAxisRecord(
                name=axis.name,
                setting=axis.key,
                levels=tuple(level.label for level in axis.levels),
                start=axis.levels[axis.start].label,
            )
            for axis in space.axes
        ),
        configurations_count=space.size,
        trials=(),
        winner=None,
        ended=None,
    )


def search_side(
    space: Space,
    references: Sequence[Preset],
    earlier: TuneSideRecord,
    attempt: Try,
    allows: Callable[[], bool],
    keep: Keep,
) -> TuneSideRecord:
    """Try configurations until none around the best is better, or the time is up.

    Args:
        references: presets beside the search that are tried first, whatever the time is.
        earlier: what was tried already; nothing of that is tried again.
        attempt: measures a candidate.
        allows: whether there is time for another trial.
        keep: gets the search after every trial.
    """
    side = earlier.model_copy(update={"ended": None})
    while (upcoming := next_candidate(space, references, side.trials)) is not None:
        candidate, is_due = upcoming
        best = best_trial(side.trials)
        if best is not None and best.outcome == "lower_bound":
            return side.model_copy(update={"ended": "generator"})
        if not is_due and not allows():
            return side.model_copy(update={"ended": "time"})
        trials = (*side.trials, attempt(candidate, best))
        winner = best_trial(trials)
        side = side.model_copy(update={"trials": trials, "winner": winner.number if winner else None})
        keep(side)
    return side.model_copy(update={"ended": "summit"})


def next_candidate(
    space: Space, references: Sequence[Preset], trials: Sequence[TuneTrialRecord]
) -> tuple[Candidate, bool] | None:
    """Return what to try next, and whether it is due whatever time is left (references and the start)."""
    number = len(trials) + 1
    for preset in references:
        if not any(not trial.levels and trial.preset == preset.name for trial in trials):
            return Candidate(number, preset, {}, must_start=True), True
    point = next_point(space, rates_of(space, trials))
    if point is None:
        return None
    is_start = point == space.start
    return Candidate(number, space.preset(point), space.labels(point), must_start=is_start), is_start


def rates_of(space: Space, trials: Sequence[TuneTrialRecord]) -> dict[Point, float | None]:
    """Return the rates found at the points of the space that were tried."""
    points = {tuple(space.labels(point).items()): point for point in space.points()}
    return {
        points[key]: trial.rate_per_s
        for trial in trials
        if trial.levels and (key := tuple(trial.levels.items())) in points
    }

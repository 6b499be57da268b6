"""The history stage: every complete run of one model below a folder, its figures over time, and what moved.

Nothing is kept beside the runs: their run.json files are read anew each time.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pipelines.errors import RequestError, unknown
from pipelines.gate.baseline import Difference, carried, configured, differences
from pipelines.history.changes import Change, find_changes
from pipelines.outputs.facts import Figure
from pipelines.outputs.of_run import figures_of_run
from pipelines.record.run import RunRecord
from pipelines.run.rebuild import read_coherent

Key = tuple[str, str, str]
"""Of a series: what it belongs to, the measure and its unit."""


@dataclass(frozen=True)
class Entry:
    """One run of the history.

    Attributes:
        changed: in what its environment, the servers' configuration, their requests, the profile, the model
            or the commit differs from the run of its kind before it.
    """

    run_id: str
    started_at_utc: str
    kind: str
    git_commit: str | None
    changed: tuple[Difference, ...]


@dataclass(frozen=True)
class Point:
    """A figure of one run.

    Attributes:
        place: the run's index in the history.
        changed: in what the run differs from that of the figure before, as in Entry.
    """

    place: int
    figure: Figure
    changed: tuple[Difference, ...] = ()


@dataclass(frozen=True)
class Series:
    """One figure over time.

    Attributes:
        changes: where its level moved; their places count its own points.
    """

    key: Key
    points: tuple[Point, ...]
    changes: tuple[Change, ...]

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.key[0]} {self.key[1]}"

    @property
    def factor(self) -> float | None:
        """Last figure / first one; None where the first is 0."""
        first, last = self.points[0].figure.value, self.points[-1].figure.value
        return last / first if first else None


@dataclass(frozen=True)
class History:
    """Everything about one model; `skipped` says by folder why a run is not part of it."""

    model: str
    entries: tuple[Entry, ...]
    series: tuple[Series, ...]
    skipped: dict[str, str]


def history(model: str, runs: Path, measure: str | None = None) -> History:
    """Read all runs of a model below `runs`, in the order they were started.

    Args:
        model: its name, as the runs have it.
        runs: a folder of runs.
        measure: only series of this measure, such as `p99`.

    Raises:
        RequestError: there is no complete run of the model, or none with that measure; with what there is.
    """
    complete, skipped = _read(runs)
    mine = sorted((run for run in complete if run.model.name == model), key=lambda run: run.started_at_utc)
    if not mine:
        models = sorted({run.model.name for run in complete})
        if models:
            raise unknown("model", model, models, where=f"{runs} holds no complete run of it: ")
        raise RequestError(
            f"{runs} holds no complete run{_lost(skipped)}; measure one with `tandem compare {model}`"
        )
    entries = tuple(_entries(mine))
    series = tuple(_series(mine))
    if measure is not None:
        series = _only(series, measure)
    return History(model, entries, series, skipped)


def _lost(skipped: dict[str, str]) -> str:
    return f" ({len(skipped)} others were left out)" if skipped else ""


def _only(series: tuple[Series, ...], measure: str) -> tuple[Series, ...]:
    chosen = tuple(candidate for candidate in series if candidate.key[1] == measure)
    if not chosen:
        raise unknown("measure", measure, sorted({candidate.key[1] for candidate in series}))
    return chosen


def run_folders(runs: Path) -> Iterator[Path]:
    """Yield the folders of runs directly below a folder, without links such as `latest`, by name.

    Raises:
        RequestError: it cannot be listed.
    """
    try:
        entries = sorted(runs.iterdir())
    except OSError as error:
        raise RequestError(f"{runs} cannot be read: {error.strerror}; name a folder of runs") from error
    yield from (entry for entry in entries if not entry.is_symlink() and (entry / "run.json").exists())


def _read(runs: Path) -> tuple[list[RunRecord], dict[str, str]]:
    complete: list[RunRecord] = []
    skipped: dict[str, str] = {}
    for folder in run_folders(runs):
        try:
            run = read_coherent(folder)
        except RequestError as error:
            skipped[folder.name] = str(error)
            continue
        if run.status == "complete":
            complete.append(run)
        else:
            skipped[folder.name] = f"it is {run.status}"
    return complete, skipped


def _entries(runs: list[RunRecord]) -> Iterator[Entry]:
    last_of_kind: dict[str, RunRecord] = {}
    for run in runs:
        changed = _changed(last_of_kind.get(run.kind), run)
        yield Entry(run.run_id, run.started_at_utc, run.kind, run.environment.git_commit, changed)
        last_of_kind[run.kind] = run


def _changed(before: RunRecord | None, run: RunRecord) -> tuple[Difference, ...]:
    if before is None:
        return ()
    return (
        *differences(before, run),
        *configured(before, run),
        *carried(before, run),
        *_asked_of(before, run),
    )


def _asked_of(before: RunRecord, run: RunRecord) -> Iterator[Difference]:
    """Yield in what else the two measured unlike things, or measured them in unlike ways."""
    for name, theirs, ours in (
        ("kind", before.kind, run.kind),
        ("loads", _loads(before), _loads(run)),
        ("profile", _profile(before), _profile(run)),
        ("model digest", before.model.digest[:12], run.model.digest[:12]),
        ("commit", str(before.environment.git_commit), str(run.environment.git_commit)),
    ):
        if theirs != ours:
            yield Difference(name, theirs, ours)


def _loads(run: RunRecord) -> str:
    return ", ".join(run.profile.loads) if run.profile else "none"


def _profile(run: RunRecord) -> str:
    """Describe what of a profile may move a figure, and not only its interval."""
    profile = run.profile
    if profile is None:
        return "none"
    warming = f"{profile.conditioning_limit_s:g} s of conditioning, {profile.warmup_limit_s:g} s of warm-up"
    return f"{profile.name}, rounds of {profile.round_s:g} s, {warming}"


def _series(runs: list[RunRecord]) -> Iterator[Series]:
    points: dict[Key, list[Point]] = {}

    @cache
    def changed(last: int, place: int) -> tuple[Difference, ...]:
        return _changed(runs[last], runs[place])

    for place, run in enumerate(runs):
        for figure in figures_of_run(run):
            labels = "/".join(text for name, text in figure.labels.items() if name != "model")
            own = points.setdefault((labels, figure.measure, figure.unit), [])
            # Runs of several kinds take turns: what counts is the run that had this figure last.
            own.append(Point(place, figure, changed(own[-1].place, place) if own else ()))
    for key, own in points.items():
        yield Series(key, tuple(own), find_changes([point.figure.value for point in own]))

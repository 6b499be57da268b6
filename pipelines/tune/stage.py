"""The tune stage: search every side's configurations, then let fresh servers say what the winner is worth."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from models.spec import ModelSpec, load_model
from pipelines.compare.slo import SloQuestion, require_possible, without_extras
from pipelines.config.settings import RunSettings
from pipelines.errors import RequestError
from pipelines.files.atomic import disk_error, write_atomically
from pipelines.judge.summarise import summarise
from pipelines.record.run import RunRecord
from pipelines.record.tune import TuneRecord, TuneSideRecord, TuneTrialRecord
from pipelines.run.run import UNFINISHED, Run, conclude, start_run
from pipelines.runners.server import Runner
from pipelines.targets.presets import DEFAULT, SHIPPED, Preset, checked, resolve
from pipelines.targets.side import SideSpec
from pipelines.targets.tuning import axes_of
from pipelines.tasks.tasks import Progress
from pipelines.tune.budget import Budget
from pipelines.tune.claim import claim, finalists
from pipelines.tune.preset_file import preset_text, require_writable
from pipelines.tune.rate_search import RESOLUTION
from pipelines.tune.resume import kept_search, read_search
from pipelines.tune.search import empty_side, search_side
from pipelines.tune.space import Space, space_around
from pipelines.tune.trial import Candidate, rounds_so_far, try_candidate
from pipelines.units import MS_PER_S

Option = bool | int | float | str | tuple[str, ...] | None


@dataclass(frozen=True)
class TuneRequest:
    """What is asked of a search.

    Attributes:
        within_s: for everything from the first server on.
        preset_file: where the winners are written.
        force: whether a file that is there is replaced.
        options: what was typed, for a search that goes on.
        resume: the folder of a search that was interrupted; None for a new one.
    """

    p99_limit_ms: float
    within_s: float
    preset_file: Path
    force: bool = False
    options: Mapping[str, Option] | None = None
    resume: Path | None = None


def tune(
    request: TuneRequest, settings: RunSettings, runner: Runner, command: Sequence[str], progress: Progress
) -> tuple[RunRecord, Path]:
    """Search every side's best configuration and write the winners' preset; the finished record, its folder.

    Raises:
        As `compare`; RequestError also for a limit that cannot be, a target twice or without settings to
            tune, a time that is too short, a preset's file that is there, or a search that cannot go on.
    """
    require_possible(SloQuestion(request.p99_limit_ms, None), settings.timeout_s * MS_PER_S)
    _require_distinct(settings)
    require_writable(request.preset_file, force=request.force)
    settings = without_extras(settings)
    cores_count, spec = len(settings.cores.server), load_model(settings.model)
    spaces = {
        side.name: space_around(
            side.target,
            side.preset.fitted(spec),
            cores_count,
            request.p99_limit_ms,
            partial(axes_of, spec=spec),
        )
        for side in settings.sides
    }
    budget = Budget(settings, request.within_s)
    finals_count = sum(1 + len(_references(space, spec)) for space in spaces.values())
    budget.require(len(spaces), finals_count)
    search = _kept(request, settings) or _empty(request, spaces)
    run = start_run("tune", settings, runner, command, progress, folder=request.resume, tune=search)
    budget.begin(search.elapsed_s)
    for trial in (trial for side in search.sides.values() for trial in side.trials):
        budget.note(trial)
    progress("tune", f"{_plan(spaces, request)}, into {run.folder}")
    measure = partial(
        _measure, request=request, runner=runner, spaces=spaces, budget=budget, progress=progress
    )
    return conclude(run, measure), run.folder


def _require_distinct(settings: RunSettings) -> None:
    running = next((side.name for side in settings.sides if side.address is not None), None)
    if running:
        raise RequestError(f"--sides: {running} runs elsewhere, and tune starts servers; name a target")
    if settings.folders:
        raise RequestError("--sides: tune searches targets, and a side NAME=DIR is a build; name its target")
    targets = [side.target for side in settings.sides]
    twice = next((target for target in targets if targets.count(target) > 1), None)
    if twice:
        raise RequestError(
            f"--sides: {twice} is there twice, and a preset's file has one table per target; tune one by one"
        )


def _references(space: Space, spec: ModelSpec) -> dict[str, Preset]:
    """Return the presets that a winner has to beat, by name: the search's own start, and the shipped ones."""
    presets = {name: resolve(name, [space.target])[space.target].fitted(spec) for name in SHIPPED}
    if all(space.base.settings != preset.settings for preset in presets.values()):
        presets = {Path(space.base.name).stem: space.base, **presets}
    return {DEFAULT: presets.pop(DEFAULT), **presets}


def _beside(space: Space, spec: ModelSpec) -> list[Preset]:
    """Return the references whose settings differ from the space's start."""
    return [preset for preset in _references(space, spec).values() if preset.settings != space.base.settings]


def _plan(spaces: Mapping[str, Space], request: TuneRequest) -> str:
    counts = ", ".join(f"{space.size} configurations of {space.target}" for space in spaces.values())
    return f"{counts}, as many as {request.within_s / 60:.3g} min allow, then fresh servers of the best"


def _empty(request: TuneRequest, spaces: Mapping[str, Space]) -> TuneRecord:
    return TuneRecord(
        p99_limit_ms=request.p99_limit_ms,
        within_s=request.within_s,
        elapsed_s=0.0,
        resolution=RESOLUTION,
        sides={name: empty_side(space) for name, space in spaces.items()},
        options=dict(request.options or {}),
        preset_file=None,
    )


def _kept(request: TuneRequest, settings: RunSettings) -> TuneRecord | None:
    if request.resume is None:
        return None
    return kept_search(read_search(request.resume), request.resume, settings)


def _measure(
    run: Run,
    request: TuneRequest,
    runner: Runner,
    spaces: Mapping[str, Space],
    budget: Budget,
    progress: Progress,
) -> None:
    finals_count = sum(1 + len(_references(space, run.spec)) for space in spaces.values())
    for place, side in enumerate(run.settings.sides, start=1):
        searched = search_side(
            spaces[side.name],
            _beside(spaces[side.name], run.spec),
            _search(run).sides[side.name],
            partial(_attempt, run, runner, side, budget, progress),
            partial(budget.allows_trial, finals_count, place / len(spaces)),
            partial(_keep, run, side.name, budget),
        )
        _keep(run, side.name, budget, searched)
    winners = _winners(run, spaces)
    if winners:
        _claim(run, runner, winners, spaces, budget, progress)
        _write(run, request, {name: preset for name, (_, preset) in winners.items()}, budget)


def _search(run: Run) -> TuneRecord:
    assert run.tune is not None  # noqa: S101 - it is a search's run
    return run.tune


def _keep(run: Run, name: str, budget: Budget, side: TuneSideRecord) -> None:
    """Put what is known of a side into the run's record on disk, from which a search can go on."""
    search = _search(run)
    sides = {**search.sides, name: side}
    run.tune = search.model_copy(update={"sides": sides, "elapsed_s": budget.elapsed_s})
    run.session.rounds_count = rounds_so_far(run)  # reported when the run is interrupted or fails
    run.save()


def _attempt(
    run: Run,
    runner: Runner,
    side: SideSpec,
    budget: Budget,
    progress: Progress,
    candidate: Candidate,
    best: TuneTrialRecord | None,
) -> TuneTrialRecord:
    """Try a candidate, saying which it is and how much time is used."""

    def tell(kind: str, text: str) -> None:
        used = f"{budget.elapsed_s / 60:.1f} of {budget.within_s / 60:.3g} min"
        leads = f", best so far {best.rate_per_s:.0f}/s" if best and best.rate_per_s else ""
        progress(kind, f"[{used}{leads}] trial {candidate.number}, {_told(candidate)}: {text}")

    trial = try_candidate(run, runner, side, candidate, best, tell)
    budget.note(trial)
    return trial


def _told(candidate: Candidate) -> str:
    return " ".join(f"{k}={v}" for k, v in candidate.levels.items()) or candidate.preset.name


def _winners(run: Run, spaces: Mapping[str, Space]) -> dict[str, tuple[SideSpec, Preset]]:
    """Return what was found for each side; a side that met the limit at no rate has no winner."""
    winners = {}
    for side in run.settings.sides:
        search = _search(run).sides[side.name]
        best = next((trial for trial in search.trials if trial.number == search.winner), None)
        if best is not None:
            settings = checked(side.target, best.settings, f"trial {best.number}", strict=False)
            winners[side.name] = (side, Preset(best.preset, settings))
    assert winners.keys() <= spaces.keys()  # noqa: S101 - sides are searched in their spaces
    return winners


def _claim(
    run: Run,
    runner: Runner,
    winners: Mapping[str, tuple[SideSpec, Preset]],
    spaces: Mapping[str, Space],
    budget: Budget,
    progress: Progress,
) -> None:
    finals: list[SideSpec] = []
    sides = dict(_search(run).sides)
    for name, (side, preset) in winners.items():
        own = finalists(side, preset, _references(spaces[name], run.spec))
        finals += own
        sides[name] = sides[name].model_copy(update={"final": tuple(finalist.name for finalist in own)})
    run.tune = _search(run).model_copy(update={"sides": sides})
    claim(run, runner, tuple(finals), budget, progress)


def _write(run: Run, request: TuneRequest, winners: Mapping[str, Preset], budget: Budget) -> None:
    """Write the winners' preset, with the claims as they are now."""
    judged = summarise(run.record("interrupted", UNFINISHED), run.folder)
    assert judged.tune is not None  # noqa: S101 - it is a search's run
    machine = judged.environment
    about = (
        f"{judged.model.name}, {len(machine.server_cores)} cores of {machine.cpu_model} for the server, "
        f"{judged.started_at_utc}, run {run.folder.name}"
    )
    try:
        write_atomically(request.preset_file, preset_text(judged.tune, winners, about))
    except OSError as error:
        raise disk_error(request.preset_file, error) from error
    run.tune = _search(run).model_copy(
        update={"preset_file": str(request.preset_file), "elapsed_s": budget.elapsed_s}
    )

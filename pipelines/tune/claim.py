"""The claim: fresh servers of the winner and of what it has to beat, block by block, as in `tandem slo`."""

from collections.abc import Mapping
from dataclasses import replace

from loadtests.rounds import rotated
from pipelines.compare.slo import LIMITS, Bracket, SloQuestion, empty_slo, search_one
from pipelines.measure.blocks import fresh_servers
from pipelines.measure.session import Session
from pipelines.measure.sides import make_sides
from pipelines.record.tune import TuneSideRecord
from pipelines.run.run import Run, describe_payloads
from pipelines.runners.server import Runner
from pipelines.targets.presets import Preset
from pipelines.targets.side import SideSpec
from pipelines.tasks.tasks import Progress
from pipelines.tune.budget import MOST_BLOCKS, Budget, least_blocks
from pipelines.tune.trial import rounds_so_far

FOUND = "found"


def finalists(side: SideSpec, winner: Preset, others: Mapping[str, Preset]) -> tuple[SideSpec, ...]:
    """Return the winner's side first, then every other preset with settings of its own.

    A winner that is one of the others is called by its name.
    """
    same = next((name for name, other in others.items() if other.settings == winner.settings), None)
    specs = [replace(side, name=f"{side.target}:{same or FOUND}", preset=winner)]
    for name, preset in others.items():
        if all(preset.settings != spec.preset.settings for spec in specs):
            specs.append(replace(side, name=f"{side.target}:{name}", preset=preset))
    return tuple(specs)


def claim(run: Run, runner: Runner, sides: tuple[SideSpec, ...], budget: Budget, progress: Progress) -> None:
    """Search the highest rate of every side once per block, and add blocks while there is time.

    A search begins at the bracket that the trial of the same settings found.
    """
    assert run.tune is not None  # noqa: S101 - it is a search's run
    question = SloQuestion(run.tune.p99_limit_ms, hourly_price=None)
    _adopt(run, runner, sides, question, progress)
    names, brackets = [side.name for side in sides], {side.name: _known(run, side) for side in sides}
    least, block, longest_s = least_blocks(run.settings.profile), 0, 0.0
    while block < least or (block < MOST_BLOCKS and budget.elapsed_s + longest_s <= budget.within_s):
        before_s = budget.elapsed_s
        starts_left = len(names) * max(least - block - 1, 0)
        with fresh_servers(run.session, block) as servers:
            for done, name in enumerate(rotated(names, block)):
                most = budget.final_rounds(starts_left + len(names) - done, starts_left)
                most = min(most, LIMITS.most_measurements)
                search_one(run, question, block, name, servers, brackets[name], most)
                # One that is interrupted here goes on with the time that is left.
                run.tune = run.tune.model_copy(update={"elapsed_s": budget.elapsed_s})
                run.save()
        block += 1
        longest_s = max(longest_s, budget.elapsed_s - before_s)
        profile = run.settings.profile.model_copy(update={"blocks": block})
        run.settings = run.settings.model_copy(update={"profile": profile})


def _adopt(
    run: Run, runner: Runner, sides: tuple[SideSpec, ...], question: SloQuestion, progress: Progress
) -> None:
    """Make the run one of these sides: their servers, their requests, and a search of each."""
    run.settings = run.settings.model_copy(update={"sides": sides})
    ready_sides = make_sides(run.settings, run.spec, run.verified, runner)
    run.adopt(
        Session(
            run.settings, ready_sides, run.folder, progress, counted=False, rounds_count=rounds_so_far(run)
        )
    )
    run.payloads = describe_payloads(ready_sides)
    run.slo = empty_slo(question, [side.name for side in sides], run.settings.profile.slo_resolution)


def _known(run: Run, spec: SideSpec) -> Bracket | None:
    """Return the rates that the trial of the same settings found; None if it found none."""
    assert run.tune is not None  # noqa: S101 - it is a search's run
    settings = spec.preset.settings.given()
    searches: list[TuneSideRecord] = [side for side in run.tune.sides.values() if side.target == spec.target]
    for trial in (trial for side in searches for trial in side.trials):
        if trial.settings == settings and trial.rate_per_s is not None:
            return trial.rate_per_s, trial.breaks_at_per_s
    return None

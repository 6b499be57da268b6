"""What a run's record must have to be worked with: names that lead somewhere, and loads that are some."""

from collections.abc import Iterator

from loadtests.arrivals import parse_load
from loadtests.errors import LoadTestError
from pipelines.record.run import RunRecord
from pipelines.record.slo import SloRecord
from pipelines.record.tune import TuneRecord

SHOWN = 100


def contradiction(run: RunRecord) -> str | None:
    """Describe the first thing in a record that cannot be; return None if it holds together.

    After this, whatever goes wrong while figures and pages are made of it, save for arithmetic, is our fault.
    """
    return next(_contradictions(run), None)


def _contradictions(run: RunRecord) -> Iterator[str]:
    if run.profile is not None and run.profile.seed < 0:
        yield f"profile.seed is {run.profile.seed}"
    is_measured = any(target.rounds for target in run.targets.values())
    for name, target in run.targets.items():
        place = f"targets.{name[:SHOWN]}"
        # A run that ended early may not have everybody yet; nothing was measured then.
        if is_measured and target.control_of is not None and target.control_of not in run.targets:
            yield f"{place}.control_of is {target.control_of[:SHOWN]!r}, which is no target of this run"
        for record in target.rounds:
            yield from _load(f"the load of round {record.index}", record.load)
    if run.slo is not None:
        yield from _search(run.slo, run)
    if run.tune is not None:
        yield from _tuning(run.tune)


def _search(slo: SloRecord, run: RunRecord) -> Iterator[str]:
    """Check that a search's measured targets are in the run, and its compared sides in the search."""
    for name, target in slo.targets.items():
        if target.points and name not in run.targets:
            yield f"slo.targets has points of {name[:SHOWN]!r}, which is no target of this run"
    for field, side in (("candidate", slo.candidate), ("baseline", slo.baseline)):
        if side is not None and side not in slo.targets:
            yield f"slo.{field} is {side[:SHOWN]!r}, which is no target of the search"


def _tuning(tune: TuneRecord) -> Iterator[str]:
    """Check that a winner is a trial, and that claims name a side that fresh servers had."""
    for name, side in tune.sides.items():
        place = f"tune.sides.{name[:SHOWN]}"
        if side.claims and not side.final:
            yield f"{place} has claims, and no sides that fresh servers compared"
        if side.winner is not None and side.winner not in {trial.number for trial in side.trials}:
            yield f"{place}.winner is {side.winner}, which is no trial"
        for trial in side.trials:
            for record in trial.rounds:
                yield from _load(f"the load of round {record.index}", record.load)


def _load(place: str, load: str) -> Iterator[str]:
    try:
        parse_load(load)
    except LoadTestError as error:
        yield f"{place} is no load: {error}"

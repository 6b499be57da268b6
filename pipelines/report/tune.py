"""What a search for a configuration says: the winner, what fresh servers claim, and all that was tried."""

from collections.abc import Iterator

from pipelines.console import format as fmt
from pipelines.record.run import RunRecord
from pipelines.record.tune import TuneClaimRecord, TuneSideRecord, TuneTrialRecord
from pipelines.report.sentences import sentence
from pipelines.report.table import Cell, Column, Table, missing, number, word

OUTCOMES = {
    "found": "found",
    "lower_bound": "lower bound",
    "none": "no rate keeps the limit",
    "not_measured": "not measured",
    "beaten": "beaten",
    "failed": "failed",
}
ENDED = {
    "summit": "no step from the best was better",
    "time": "the time for trials was up",
    "generator": "the load generator can send no more",
    None: "it was interrupted",
}
NO_RATE = "no rate that was tried kept the limit"
NOT_BROKEN = "no rate that was tried broke it"


def winner_of(side: TuneSideRecord) -> TuneTrialRecord | None:
    """Return the best trial; None while none kept the limit."""
    return next((trial for trial in side.trials if trial.number == side.winner), None)


def configuration(trial: TuneTrialRecord) -> str:
    """Describe a trial, such as `workers 2, batch 8, delay 5 ms`; name a preset where it is one."""
    return ", ".join(f"{axis} {level}" for axis, level in trial.levels.items()) or trial.preset


def not_measured(side: TuneSideRecord) -> bool:
    """Return whether nothing that was tried says anything: spoilt rounds, or servers that failed."""
    return all(trial.outcome in ("not_measured", "failed") for trial in side.trials)


def headline(run: RunRecord) -> str:
    """Say what is known while no fresh servers were measured."""
    return " ".join(remarks(run))


def remarks(run: RunRecord) -> tuple[str, ...]:
    """Return one line for each side: what won, of how many, and why the search ended."""
    return tuple(fmt.one_line(_remark(side)) for side in (run.tune.sides.values() if run.tune else ()))


def _remark(side: TuneSideRecord) -> str:
    tried = f"{len(side.trials)} of {side.configurations_count} configurations tried"
    best = winner_of(side)
    if best is None and not_measured(side):
        return f"{side.target}: no configuration could be measured ({tried}); why stands with each."
    if best is None:
        return f"{side.target}: no configuration kept the limit at any rate ({tried})."
    return f"{side.target}: best is {configuration(best)} ({tried}; {ENDED[side.ended]})."


def claim_table(run: RunRecord) -> Table:
    """Show what fresh servers found about the winners."""
    columns = (
        Column("winner", numeric=False),
        Column("against", numeric=False),
        Column("highest rate", "ratio"),
        Column("interval", f"95{fmt.THIN}%"),
    )
    rows = tuple(
        (word(side.final[0]), word(claim.against), _ratio(claim), _interval(claim))
        for side in (run.tune.sides.values() if run.tune else ())
        for claim in side.claims
    )
    return Table(
        "What tuning is worth, on fresh servers",
        columns,
        rows,
        "Not the search's own rounds, of which the best are the lucky ones." if rows else None,
    )


def _ratio(claim: TuneClaimRecord) -> Cell:
    why = sentence(claim.reason) if claim.reason else "a search of both has to find a rate"
    for value, sign in ((claim.ratio_at_least, "≥"), (claim.ratio_at_most, "≤")):
        if value is not None:
            return word(f"{sign}{fmt.THIN}{fmt.ratio(value)}", exact=str(value))
    return number(claim.ratio, fmt.ratio, unit="", why=why)


def _interval(claim: TuneClaimRecord) -> Cell:
    if claim.interval is None:
        return missing(sentence(claim.reason) if claim.reason else "a bound has no interval")
    return word(fmt.span(claim.interval, fmt.ratio), exact=f"{claim.interval[0]} to {claim.interval[1]}")


def setting_table(run: RunRecord) -> Table:
    """Show the winners' settings, by the servers' own names."""
    columns = (
        Column("target", numeric=False),
        Column("setting", numeric=False),
        Column("value", numeric=False),
    )
    rows = tuple(
        (word(side.target), Cell(key, code=True), Cell(_value(value), code=True))
        for side in (run.tune.sides.values() if run.tune else ())
        if (best := winner_of(side))
        for key, value in best.settings.items()
    )
    where = run.tune.preset_file if run.tune else None
    return Table("What was found", columns, rows, f"Written to {where}." if where else None)


def _value(value: object) -> str:
    if isinstance(value, tuple):
        return " ".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def trial_table(run: RunRecord) -> Table:
    """Show everything that was tried, in its order."""
    columns = (
        Column("target", numeric=False),
        Column("trial"),
        Column("configuration", numeric=False),
        Column("outcome", numeric=False),
        Column("kept the limit at", "/s"),
        Column("broke it at", "/s"),
        Column("closed load", "/s", minor=True),
        Column("measurements", minor=True),
        Column("took", "s", minor=True),
    )
    rows = tuple(_row(side, trial) for side, trial in _trials(run))
    return Table("Every configuration that was tried", columns, rows)


def _trials(run: RunRecord) -> Iterator[tuple[TuneSideRecord, TuneTrialRecord]]:
    for side in run.tune.sides.values() if run.tune else ():
        for trial in side.trials:
            yield side, trial


def _row(side: TuneSideRecord, trial: TuneTrialRecord) -> tuple[Cell, ...]:
    why = sentence(trial.reason) if trial.reason else NO_RATE
    outcome = OUTCOMES[trial.outcome]
    if trial.beaten_by is not None:
        outcome = f"beaten by trial {trial.beaten_by}"
    return (
        word(side.target),
        word(str(trial.number)),
        word(configuration(trial), tone="good" if trial.number == side.winner else None),
        word(outcome, tone="bad" if trial.outcome == "failed" else None),
        number(trial.rate_per_s, fmt.rate_number, unit="/s", why=why),
        number(
            trial.breaks_at_per_s, fmt.rate_number, unit="/s", why=NOT_BROKEN if trial.rate_per_s else why
        ),
        number(
            trial.closed_throughput_per_s, fmt.rate_number, unit="/s", why="its server was not conditioned"
        ),
        word(str(len(trial.points))),
        word(f"{trial.duration_s:.0f}", exact=str(trial.duration_s)),
    )

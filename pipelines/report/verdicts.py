"""The verdicts, the noise floor and fairness as tables."""

import re
from typing import Final

from pipelines.record import ComparisonRecord, ControlRecord, RunRecord
from pipelines.report import format as fmt
from pipelines.report import pick
from pipelines.report.table import Cell, Column, Table, Tone, missing, number, target_cell, word

NO_INTERVAL = "an interval needs two pairs of valid rounds"
NO_FLOOR = "a side has no A/A control that gave an interval"
TONES: Final[dict[str | None, Tone]] = {"better": "good", "worse": "bad"}
RATIO_REMARK = "A ratio above 1: slower for latency, more per second for throughput."
FLOOR_REMARK = (
    "A second server of the same target, measured like any other: its ratio should be 1, and how far its "
    "interval reaches from 1 is what this machine shows where there is no difference. A difference inside "
    "the larger noise floor of its two sides is not called."
)


def verdict_table(run: RunRecord) -> Table:
    """Load by metric: ratio, interval and verdict."""
    several = len({(one.candidate, one.baseline) for one in run.comparisons}) > 1
    columns = (
        Column("load", numeric=False),
        *([Column("candidate", numeric=False), Column("baseline", numeric=False)] if several else []),
        Column("metric", numeric=False),
        Column("verdict", numeric=False),
        Column("ratio"),
        Column("interval", f"95{fmt.THIN}%"),
        Column("pairs"),
        Column("noise floor", minor=True),
    )
    rows = tuple(_verdict_row(run, one, several=several) for one in run.comparisons)
    return Table(_caption(run, several=several), columns, rows, RATIO_REMARK)


def _caption(run: RunRecord, *, several: bool) -> str:
    if several or not run.comparisons:
        return "Verdicts on the candidate"
    one = run.comparisons[0]
    candidate, baseline = (pick.display_name(run, name) for name in (one.candidate, one.baseline))
    return fmt.one_line(f"Verdicts: {candidate} against {baseline}")


def _verdict_row(run: RunRecord, one: ComparisonRecord, *, several: bool) -> tuple[Cell, ...]:
    names = [word(pick.display_name(run, name)) for name in (one.candidate, one.baseline)]
    return (
        word(one.load),
        *(names if several else []),
        word(pick.metric_name(one.metric)),
        _verdict_cell(one),
        number(pick.ratio_of(one), fmt.ratio, unit="", why=one.reason or NO_INTERVAL),
        interval_cell(one.interval, one.reason or NO_INTERVAL),
        word(fmt.count(one.pairs_count)),
        floor_cell(one.noise_floor),
    )


def interval_cell(span: tuple[float, float] | None, why: str) -> Cell:
    """Both ends of an interval of ratios, or why there is none."""
    if span is None:
        return missing(why)
    return word(fmt.span(span, fmt.ratio), exact=f"{span[0]} to {span[1]}")


def floor_cell(floor: float | None) -> Cell:
    """The noise floor in per cent, or why there is none."""
    return missing(NO_FLOOR) if floor is None else word(fmt.within(floor), exact=str(floor))


def _verdict_cell(one: ComparisonRecord) -> Cell:
    needed = f", +{fmt.plural(one.rounds_needed, 'round')}" if one.rounds_needed else ""
    text, why = (one.verdict or "no verdict") + needed, fmt.one_line(explanation(one))
    return Cell(text, exact=one.reason, why=why or None, tone=TONES.get(one.verdict))


def explanation(one: ComparisonRecord) -> str:
    """What must be read with the verdict; nothing where it is clear or more rounds decide."""
    if one.verdict not in (None, "inconclusive") or one.rounds_needed is not None:
        return ""
    otherwise = "more rounds would not decide it" if one.verdict else ""
    # The figures that a reason may begin with stand beside the verdict already.
    return re.sub(r"^the ratio [^()]*\([^()]*\) ", "the interval ", one.reason or otherwise)


def noise_table(run: RunRecord) -> Table:
    """The A/A controls: load by metric and side; no rows when none was measured."""
    columns = (
        Column("load", numeric=False),
        Column("metric", numeric=False),
        Column("control of", numeric=False),
        Column("ratio"),
        Column("interval", f"95{fmt.THIN}%"),
        Column("pairs"),
        Column("noise floor"),
    )
    return Table("Noise floor of this machine", columns, tuple(map(_noise_row, run.controls)), FLOOR_REMARK)


def _noise_row(one: ControlRecord) -> tuple[Cell, ...]:
    return (
        word(one.load),
        word(pick.metric_name(one.metric)),
        target_cell(one.target),
        number(one.ratio, fmt.ratio, unit="", why=NO_INTERVAL),
        interval_cell(one.interval, NO_INTERVAL),
        word(fmt.count(one.pairs_count)),
        missing(NO_INTERVAL) if one.noise_floor is None else floor_cell(one.noise_floor),
    )


def fairness_table(run: RunRecord) -> Table:
    """What each compared target was given, field by field, and whether it was alike."""
    checked = run.fairness.checked
    names = list(dict.fromkeys(target for values in checked.values() for target in values))
    columns = (
        Column("given", numeric=False),
        *(Column(fmt.one_line(name), numeric=False) for name in names),
        Column("alike", numeric=False),
    )
    rows = tuple(
        (word(field), *(word(values.get(name, fmt.MISSING)) for name in names), _alike(run, field))
        for field, values in checked.items()
    )
    return Table("What each side was given", columns, rows)


def _alike(run: RunRecord, field: str) -> Cell:
    found = next((one for one in run.fairness.asymmetries if one.field == field), None)
    if found is not None:
        return word("differs, allowed by name" if found.allowed else "DIFFERS, not allowed", tone="bad")
    given = set(run.fairness.checked[field].values())
    if len(given) == 1:
        return word("yes")
    return word("one side has none" if "none" in given else "not compared")

"""The verdicts, the noise floor and fairness as tables."""

from dataclasses import replace
from typing import Final

from loadtests.sequential import BLOCK_DEVIATION
from loadtests.validity import P99_STEAL_LIMIT, spoils
from pipelines.console import format as fmt
from pipelines.record.comparison import ComparisonRecord, ControlRecord
from pipelines.record.run import RunRecord
from pipelines.report import pick, sentences
from pipelines.report.table import Cell, Column, Table, Tone, missing, number, target_cell, word

NO_INTERVAL = "an interval needs two pairs of valid rounds"
ASSUMED = (
    "decided before its control had its turn; the noise floor is not measured but that of blocks that "
    f"differ by {fmt.within(BLOCK_DEVIATION)}"
)
NO_VERDICT = "no verdict was given"
NO_FLOOR = "a side has no A/A control that gave an interval"
TONES: Final[dict[str | None, Tone]] = {"better": "good", "worse": "bad"}
RATIO_REMARK = "A ratio above 1: slower for latency, more per second for throughput."
FAMILY_REMARK = (
    "The primary metric decides. The verdicts on the others are one family: each goes by a wider interval, "
    "so that a false one among all of them is no likelier than with one alone (Holm)."
)
FLOOR_REMARK = (
    "A second server of the same target, measured like any other: its ratio should be 1, and how far its "
    "interval reaches from 1 is what this machine shows where there is no difference. A difference inside "
    "the larger noise floor of its two sides is not called."
)


def verdict_table(run: RunRecord) -> Table:
    """Load by metric: ratio, interval and verdict."""
    several = len({(comparison.candidate, comparison.baseline) for comparison in run.comparisons}) > 1
    columns = (
        Column("load", numeric=False),
        *([Column("candidate", numeric=False), Column("baseline", numeric=False)] if several else []),
        Column("metric", numeric=False),
        Column("verdict", numeric=False),
        Column("ratio"),
        Column("interval", f"95{fmt.THIN}%"),
        Column("judged by", minor=True),
        Column("pairs"),
        Column("noise floor", minor=True),
    )
    rows = tuple(_verdict_row(run, comparison, several=several) for comparison in run.comparisons)
    corrected = any(comparison.verdict_confidence for comparison in run.comparisons)
    remarks = (RATIO_REMARK, FAMILY_REMARK if corrected else "", _stolen_remark(run))
    return Table(_caption(run, several=several), columns, rows, " ".join(filter(None, remarks)))


def _stolen_remark(run: RunRecord) -> str:
    """Say why p99 has fewer pairs, where it has; older runs compared it in all valid rounds."""
    spoilt = sum(record.valid and spoils("p99", record.cpu_steal_share) for record in pick.all_rounds(run))
    p99 = {
        (one.load, one.candidate, one.baseline): one.pairs_count
        for one in run.comparisons
        if one.metric == "p99"
    }
    fewer = any(
        p99.get((one.load, one.candidate, one.baseline), one.pairs_count) < one.pairs_count
        for one in run.comparisons
        if one.metric == "p50"
    )
    if not spoilt or not fewer:
        return ""
    limit = fmt.percent(P99_STEAL_LIMIT)
    return (
        f"p99 has fewer pairs: {fmt.plural(spoilt, 'valid round')} lost more than {limit} of a core to other "
        "guests of the host, which alone can make the slowest hundredth of requests, and counted for p99 "
        "only where a block had no other."
    )


def _caption(run: RunRecord, *, several: bool) -> str:
    if several or not run.comparisons:
        return "Verdicts on the candidate"
    comparison = run.comparisons[0]
    candidate, baseline = (
        pick.display_name(run, name) for name in (comparison.candidate, comparison.baseline)
    )
    return fmt.one_line(f"Verdicts: {candidate} against {baseline}")


def _verdict_row(run: RunRecord, comparison: ComparisonRecord, *, several: bool) -> tuple[Cell, ...]:
    names = [word(pick.display_name(run, name)) for name in (comparison.candidate, comparison.baseline)]
    return (
        word(comparison.load),
        *(names if several else []),
        word(pick.metric_name(comparison.metric) + (" (primary)" if comparison.is_primary else "")),
        _verdict_cell(comparison),
        number(pick.ratio_of(comparison), fmt.ratio, unit="", why=_why(comparison, NO_INTERVAL)),
        interval_cell(comparison.interval, _why(comparison, NO_INTERVAL)),
        _judged_by(comparison),
        word(fmt.count(comparison.pairs_count)),
        floor_cell(comparison.noise_floor),
    )


def _judged_by(comparison: ComparisonRecord) -> Cell:
    """Show the interval that the verdict goes by, with its confidence."""
    if comparison.verdict_interval is None or comparison.verdict_confidence is None:
        return missing(_why(comparison, NO_VERDICT))
    span, confidence = comparison.verdict_interval, fmt.confidence(comparison.verdict_confidence)
    return word(f"{fmt.span(span, fmt.ratio)} ({confidence})", exact=f"{span[0]} to {span[1]}")


def judged_wider(comparison: ComparisonRecord) -> bool:
    """Return whether the verdict goes by a wider interval than the one beside the ratio."""
    return comparison.verdict_interval is not None and comparison.verdict_interval != comparison.interval


def primary_missing(run: RunRecord) -> tuple[str, ...]:
    """Say per load and pair that the primary metric was not measured; no other takes its place."""
    if run.profile is None or not run.profile.verdicts:
        return ()
    lost = [
        comparison for comparison in run.comparisons if comparison.is_primary and comparison.interval is None
    ]
    return tuple(fmt.one_line(_missing_sentence(run, comparison)) for comparison in lost)


def _missing_sentence(run: RunRecord, comparison: ComparisonRecord) -> str:
    metric, reasons = pick.metric_name(comparison.metric), pick.percentile_reasons(run, comparison)
    why = "; ".join(reasons) or _why(comparison, NO_INTERVAL)
    advice = "Measure longer rounds with --round-s, or name another metric with --primary." if reasons else ""
    lead = f"The primary metric, {metric}, could not be compared under {comparison.load}: {why}. {advice}"
    return f"{lead.strip()} The other metrics do not take its place."


def interval_cell(span: tuple[float, float] | None, why: str) -> Cell:
    """Show both ends of an interval of ratios, or why there is none."""
    if span is None:
        return missing(why)
    return word(fmt.span(span, fmt.ratio), exact=f"{span[0]} to {span[1]}")


def floor_cell(floor: float | None) -> Cell:
    """Show the noise floor in per cent, or why there is none."""
    return missing(NO_FLOOR) if floor is None else word(fmt.within(floor), exact=str(floor))


def _verdict_cell(comparison: ComparisonRecord) -> Cell:
    needed = f", +{fmt.plural(comparison.rounds_needed, 'round')}" if comparison.rounds_needed else ""
    text, why = (comparison.verdict or "no verdict") + needed, fmt.one_line(explanation(comparison))
    return Cell(
        text,
        exact=sentences.verdict_sentence(comparison),
        why=why or None,
        tone=TONES.get(comparison.verdict),
    )


def explanation(comparison: ComparisonRecord) -> str:
    """Explain the verdict; say nothing where it is clear or more rounds decide."""
    if comparison.verdict not in (None, "inconclusive") or comparison.rounds_needed is not None:
        return ""
    otherwise = "more rounds would not decide it" if comparison.verdict else ""
    return sentences.explanation(comparison) or otherwise


def undecided(comparison: ComparisonRecord) -> str:
    """Say why nothing was called, or how many rounds would; say nothing where something was."""
    if comparison.rounds_needed is not None:
        return f"about {fmt.plural(comparison.rounds_needed, 'more round')} per target would decide"
    return explanation(comparison)


def _why(comparison: ComparisonRecord, otherwise: str) -> str:
    return sentences.verdict_sentence(comparison) or otherwise


def noise_table(run: RunRecord) -> Table:
    """Show the A/A controls: load by metric and side; no rows when none was measured."""
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


def _noise_row(control: ControlRecord) -> tuple[Cell, ...]:
    why = ASSUMED if control.assumed else NO_INTERVAL
    return (
        word(control.load),
        word(pick.metric_name(control.metric)),
        target_cell(control.target),
        number(control.ratio, fmt.ratio, unit="", why=why),
        interval_cell(control.interval, why),
        word(fmt.count(control.pairs_count)),
        _floor_of(control),
    )


def _floor_of(control: ControlRecord) -> Cell:
    if control.noise_floor is None:
        return missing(NO_INTERVAL)
    cell = floor_cell(control.noise_floor)
    return replace(cell, why=ASSUMED) if control.assumed else cell


def fairness_table(run: RunRecord) -> Table:
    """Show what each compared target was given, field by field, and whether it was alike."""
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
    asymmetry = next((asymmetry for asymmetry in run.fairness.asymmetries if asymmetry.field == field), None)
    if asymmetry is not None and asymmetry.on_purpose:
        return word("differs on purpose")
    if asymmetry is not None:
        return word("differs, allowed by name" if asymmetry.allowed else "DIFFERS, not allowed", tone="bad")
    values = set(run.fairness.checked[field].values())
    if "not known" in values:
        return word("not known", tone="bad")
    if len(values) == 1:
        return word("yes")
    return word("one side has none" if "none" in values else "not compared")

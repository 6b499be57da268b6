"""What an SLO search says: a sentence, the rates with their costs, and every measurement."""

import math

from loadtests.intervals import CONFIDENCE
from pipelines.console import format as fmt
from pipelines.judge.rates import (
    Disagreement,
    RatePair,
    disagreement,
    rate_pairs,
    reversed_ratio,
)
from pipelines.record.reason import ReasonRecord
from pipelines.record.rounds import LatencyRecord
from pipelines.record.run import RunRecord
from pipelines.record.slo import RatePointRecord, SloBlockRecord, SloRecord, SloTargetRecord
from pipelines.report import pick
from pipelines.report.measured import latency_cell
from pipelines.report.sentences import sentence, sentences
from pipelines.report.table import Cell, Column, Table, missing, number, target_cell, word

NO_RATE = "the limit was kept at no rate"
NO_SEARCH = "no search of it ended"
ONE_SEARCH = "an interval needs two searches that found a rate"
BOUND_ALONE = "a lower bound has no interval: how far the rate lies above it is not known"
OUTCOMES = {
    "found": "found",
    "lower_bound": "lower bound",
    "none": "no rate keeps the limit",
    "not_measured": "not measured",
}


def headline(run: RunRecord) -> str:
    """Say what each target sustains within the limit, and the ratio; say nothing without a search."""
    if run.slo is None:
        return ""
    limit = f"p99 ≤ {fmt.given_ms(run.slo.p99_limit_ms)}"
    names = fmt.listed([pick.display_name(run, name) for name in run.slo.targets])
    if all(map(not_searched, run.slo.targets.values())):
        return fmt.one_line(f"How much {names} can take at {limit} was not measured: no search ended.")
    if all(map(not_measured, run.slo.targets.values())):
        return fmt.one_line(f"How much {names} can take at {limit} was not measured: the searches gave up.")
    if all(map(kept_at_no_rate, run.slo.targets.values())):
        names = " nor ".join(pick.display_name(run, name) for name in run.slo.targets)
        return fmt.one_line(f"At no rate that was tried was {limit} kept: not by {names}.")
    return fmt.one_line(f"At {limit} {_sides(run, run.slo)}{_ratio(run, run.slo)}.")


def nothing_known(target: SloTargetRecord) -> bool:
    """Return whether there is neither a rate nor a bound."""
    return target.rate_per_s is None and target.at_least_per_s is None


def not_searched(target: SloTargetRecord) -> bool:
    """Return whether no search ended, as when the run is interrupted before."""
    return not target.blocks


def not_measured(target: SloTargetRecord) -> bool:
    """Return whether every search that ended had to give up, which says nothing of the server."""
    return nothing_known(target) and all(block.outcome == "not_measured" for block in target.blocks)


def kept_at_no_rate(target: SloTargetRecord) -> bool:
    """Return whether every search found that the limit is kept at no rate."""
    return bool(target.blocks) and all(block.outcome == "none" for block in target.blocks)


def _why_none(target: SloTargetRecord) -> str:
    return NO_SEARCH if not_searched(target) else _why(target.reason, NO_RATE)


def _why(reason: ReasonRecord | None, otherwise: str) -> str:
    return sentence(reason) if reason else otherwise


def _sides(run: RunRecord, slo: SloRecord) -> str:
    clauses, verb = [], "sustains "
    for name, target in slo.targets.items():
        who, value = pick.display_name(run, name), target.rate_per_s or target.at_least_per_s
        if value is None:
            clauses.append(f"{who} {_no_rate(target)}")
            verb = "sustains "
        else:
            clauses.append(f"{who} {verb}{_bound(target)}{fmt.rate(value)}")
            verb = ""
    return fmt.listed(clauses)


def _no_rate(target: SloTargetRecord) -> str:
    """Describe a target without a rate: what some blocks found would be too good."""
    if not_searched(target):
        return f"was not measured ({NO_SEARCH})"
    if not_measured(target):
        return "was not measured"
    if kept_at_no_rate(target):
        return "sustains no rate that was tried"
    return "has no rate, because not every block found one"


def _bound(target: SloTargetRecord) -> str:
    return "at least " if target.at_least_per_s is not None else ""


def _ratio(run: RunRecord, slo: SloRecord) -> str:
    if slo.baseline is None:
        return ""
    ours, theirs = pick.display_name(run, slo.candidate), pick.display_name(run, slo.baseline)
    if slo.ratio_at_least is not None:
        return _one_sided(slo, ours, theirs, slo.ratio_at_least)
    if slo.ratio_at_most is not None:
        return _one_sided(slo, theirs, ours, reversed_ratio(slo.ratio_at_most))
    if slo.ratio is None:
        return f"; no ratio: {sentence(slo.reason)}" if slo.reason else ""
    interval = f" (95{fmt.THIN}% interval {fmt.span(slo.interval, fmt.ratio)})" if slo.interval else ""
    alone = "" if slo.interval else f" (no interval: {_why(slo.reason, ONE_SEARCH)})"
    whose = f"{ours} sustains " if _is_of_several(slo) else ""
    than = f" what {theirs} does" if whose else ""
    return f": {whose}{fmt.ratio(slo.ratio)} times{than}{interval}{alone}"


def _is_of_several(slo: SloRecord) -> bool:
    """Return whether there are more sides than the two of the ratio."""
    return len(slo.targets) > len((slo.candidate, slo.baseline))


def _one_sided(slo: SloRecord, more: str, less: str, times: float) -> str:
    """Name the side with the bound, which may sustain more still, and its least ratio."""
    count = len(slo.block_ratios)
    basis = f"one-sided 95{fmt.THIN}% limit, {fmt.plural(count, 'block')}" if count > 1 else "one block"
    return f": {more} sustains at least {fmt.ratio(times)} times what {less} does ({basis})"


def remarks(run: RunRecord) -> tuple[str, ...]:
    """Say why a rate is missing or a bound, that searches disagree, that nothing is decided; a line each."""
    return tuple(map(fmt.one_line, (*_reasons(run), *_disagreeing(run), *_undecided(run))))


def _reasons(run: RunRecord) -> list[str]:
    return [
        f"{pick.display_name(run, name)}: {sentence(target.reason)}."
        for name, target in (run.slo.targets if run.slo else {}).items()
        if target.rate_per_s is None and target.reason
    ]


def _disagreeing(run: RunRecord) -> list[str]:
    """Say whose searches are farther apart than a quiet machine makes them, and what the machine did."""
    sides = run.slo.targets if run.slo else {}
    found = {name: disagreement(target, run.targets[name].rounds) for name, target in sides.items()}
    return [
        f"{pick.display_name(run, name)}: its searches found "
        f"{fmt.span((one.lowest_per_s, one.highest_per_s), fmt.rate_number)} requests/s, "
        f"{fmt.ratio(one.times)} times apart{_machine(one)}."
        for name, one in found.items()
        if one
    ]


def _machine(found: Disagreement) -> str:
    """Say how much slower the server's cores were in one search than in another; nothing where not known."""
    if found.machine is None:
        return ""
    return (
        f"; the server's cores needed {fmt.ratio(found.machine.times)} times as long for a fixed computation "
        f"in block {found.machine.slow_block} as in block {found.machine.fast_block}"
    )


def _undecided(run: RunRecord) -> list[str]:
    if run.slo is None:
        return []
    several = _is_of_several(run.slo)
    return [
        _not_decided(run, pair, several=several) for pair in rate_pairs(run) if pair.verdict == "inconclusive"
    ]


def _not_decided(run: RunRecord, pair: RatePair, *, several: bool) -> str:
    sides = (pair.candidate, pair.baseline)
    names = " and ".join(pick.display_name(run, name) for name in sides)
    which = f"Which of {names if several else 'the two'} sustains more is not decided"
    return f"{which}: {undecided_because(run, pair)}. More --blocks narrow the interval."


def undecided_because(run: RunRecord, pair: RatePair) -> str:
    """Say why the verdict is open; nothing where it is not."""
    if pair.verdict != "inconclusive" or run.profile is None:
        return ""
    low, high = pair.verdict_interval or (None, None)
    which = f"the interval{_judged_by(pair)}"
    if (low is None or low <= 1) and (high is None or high >= 1):
        return f"{which} holds 1"
    return f"{which} reaches into {fmt.within(run.profile.margin)}, which do not matter"


def _judged_by(pair: RatePair) -> str:
    """Describe the interval of a verdict that is one of several; nothing where it is the one shown anyway."""
    if pair.verdict_interval is None or pair.verdict_confidence is None:
        return ""
    if math.isclose(pair.verdict_confidence, CONFIDENCE):
        return ""
    low, high = pair.verdict_interval
    confidence = fmt.confidence(pair.verdict_confidence)
    if low is None or high is None:
        end = f"at least {fmt.ratio(low)}" if low is not None else f"at most {fmt.ratio(high or 0)}"
        return f" it is judged by ({confidence}, one-sided: {end})"
    return f" it is judged by ({confidence}: {fmt.span((low, high), fmt.ratio)})"


def is_bounded(pair: RatePair) -> bool:
    """Return whether only one end of the ratio is known."""
    return pair.at_least is not None or pair.at_most is not None


def ratio_cell(pair: RatePair, why: str) -> Cell:
    """Show the ratio, or what it is at least or at most, or why there is none."""
    if pair.at_least is not None:
        return _bounded(pair.at_least, fmt.ratio, "≥", "")
    if pair.at_most is not None:
        return _bounded(pair.at_most, fmt.ratio, "≤", "")
    return number(pair.ratio, fmt.ratio, unit="", why=why)


def price(slo: SloRecord) -> str:
    """Format as `at 0.40 an hour`, without a currency."""
    if slo.hourly_price is None:
        return ""
    cents = f"{slo.hourly_price:.2f}"
    return f"at {cents if float(cents) == slo.hourly_price else f'{slo.hourly_price:g}'} an hour"


def rate_table(run: RunRecord) -> Table:
    """Show the highest rate of each target with its interval, and the cost when a price was given."""
    slo = run.slo
    costed = slo is not None and slo.hourly_price is not None
    columns = (
        Column("target", numeric=False),
        Column("highest rate", "/s"),
        Column("interval", f"95{fmt.THIN}%"),
        *([Column("cost", "per million"), Column("interval", f"95{fmt.THIN}% ")] if costed else []),
    )
    if slo is None:
        return Table("Highest rate", columns, ())
    rows = tuple(
        (target_cell(name, pick.label(run, name)), *_rates(target), *(_costs(target) if costed else []))
        for name, target in slo.targets.items()
    )
    caption = f"Highest rate with p99 ≤ {fmt.given_ms(slo.p99_limit_ms)}"
    remark = f"Cost of a million inferences {price(slo)} of this machine." if costed else None
    return Table(caption, columns, rows, remark)


def _rates(target: SloTargetRecord) -> tuple[Cell, ...]:
    why = _why_none(target)
    if target.at_least_per_s is not None:
        return _bounded(target.at_least_per_s, fmt.rate_number, "≥", "/s"), missing(BOUND_ALONE)
    return (
        number(target.rate_per_s, fmt.rate_number, unit="/s", why=why),
        _span(target.interval, fmt.rate_number, why if target.rate_per_s is None else ONE_SEARCH),
    )


def rate_cell(target: SloTargetRecord) -> Cell:
    """Show the highest rate, or what it is at least, or why there is none."""
    return _rates(target)[0]


def _bounded(value: float, show: fmt.Show, sign: str, unit: str) -> Cell:
    return number(value, lambda bound: f"{sign}{fmt.THIN}{show(bound)}", unit=unit, why=NO_RATE)


def _costs(target: SloTargetRecord) -> tuple[Cell, ...]:
    why = _why_none(target)
    if target.cost_at_most is not None:
        return _bounded(target.cost_at_most, fmt.significant, "≤", ""), missing(BOUND_ALONE)
    return (
        number(target.cost_per_million, fmt.significant, unit="", why=why),
        _span(target.cost_interval, fmt.significant, why if target.cost_per_million is None else ONE_SEARCH),
    )


def _span(ends: tuple[float, float] | None, show: fmt.Show, why: str) -> Cell:
    if ends is None:
        return missing(why)
    return word(fmt.span(ends, show), exact=f"{ends[0]} to {ends[1]}")


def search_table(run: RunRecord) -> Table:
    """Show what each search found: a row per target and block, with the ratio in the candidate's rows."""
    slo = run.slo
    baseline = slo.baseline if slo else None
    columns = (
        Column("target", numeric=False),
        Column("block"),
        Column("outcome", numeric=False),
        Column("highest rate", "/s"),
        Column("breaks at", "/s"),
        Column("measurements", minor=True),
        *([Column("ratio", f"to {fmt.one_line(baseline)}")] if baseline else []),
    )
    rows = tuple(
        (
            target_cell(name, pick.label(run, name)),
            *_search_cells(block),
            *([_block_ratio(slo, name, block)] if baseline else []),
        )
        for name, target in (slo.targets if slo else {}).items()
        for block in target.blocks
    )
    return Table("Each search, with fresh servers", columns, rows)


def _search_cells(block: SloBlockRecord) -> tuple[Cell, ...]:
    why = _why(block.reason, NO_RATE)
    rate = number(block.rate_per_s, fmt.rate_number, unit="/s", why=why)
    if block.outcome == "lower_bound" and block.rate_per_s is not None:
        rate = _bounded(block.rate_per_s, fmt.rate_number, "≥", "/s")
    return (
        word(str(block.block)),
        word(OUTCOMES[block.outcome]),
        rate,
        number(block.breaks_at_per_s, fmt.rate_number, unit="/s", why="no rate that was tried broke it"),
        word(str(block.rounds_count)),
    )


def _block_ratio(slo: SloRecord | None, name: str, block: SloBlockRecord) -> Cell:
    """Show the ratio of the block's two searches in the candidate's row; nothing in the other rows."""
    if slo is None or name != slo.candidate:
        return word("")
    block_ratio = next((ratio for ratio in slo.block_ratios if ratio.block == block.block), None)
    if block_ratio is None:
        return missing("a ratio needs a rate of both, or a bound of one alone")
    if block_ratio.bound is None:
        return number(block_ratio.ratio, fmt.ratio, unit="", why=NO_RATE)
    return _bounded(block_ratio.ratio, fmt.ratio, "≥" if block_ratio.bound == "at_least" else "≤", "")


def point_table(run: RunRecord) -> Table:
    """Show every measurement of the searches, in the order measured."""
    columns = (
        Column("round"),
        Column("block"),
        Column("target", numeric=False),
        Column("phase", numeric=False),
        Column("rate", "/s"),
        Column("p99", "ms"),
        Column("errors"),
        Column("limit", numeric=False),
        Column("because", numeric=False),
    )
    points = [
        (name, p) for name, target in (run.slo.targets if run.slo else {}).items() for p in target.points
    ]
    ordered = sorted(points, key=lambda pair: pair[1].round_index)
    latencies = {record.index: record.latency_ms for record in pick.all_rounds(run)}
    rows = tuple(_point_row(name, point, latencies.get(point.round_index)) for name, point in ordered)
    return Table("Every measurement of the search", columns, rows)


def _point_row(name: str, point: RatePointRecord, latency: LatencyRecord | None) -> tuple[Cell, ...]:
    limit = {True: "kept", False: "not kept", None: "not used"}[point.met]
    why = sentences(point.reasons) or "no answer in time"
    return (
        word(str(point.round_index)),
        word(str(point.block)),
        target_cell(name),
        word(point.phase),
        number(point.rate_per_s, fmt.rate_number, unit="/s", why=why),
        _p99(point, latency, why),
        word(fmt.percent(point.errors_share), exact=str(point.errors_share)),
        word(limit, tone="bad" if point.met is None else None),
        word(sentences(point.reasons)),
    )


def _p99(point: RatePointRecord, latency: LatencyRecord | None, why: str) -> Cell:
    """Show the p99 of a measurement with the interval that its round has."""
    if latency is not None and latency.p99 is not None and latency.p99 == point.p99_ms:
        return latency_cell(latency, "p99")
    return number(point.p99_ms, fmt.significant, unit="ms", why=why)

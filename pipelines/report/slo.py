"""What an SLO search says: a sentence, the rates with their costs, and every measurement."""

from pipelines.record import RatePointRecord, RunRecord, SloRecord, SloTargetRecord
from pipelines.report import format as fmt
from pipelines.report import pick
from pipelines.report.table import Cell, Column, Table, missing, number, target_cell, word

NO_RATE = "the limit was kept at no rate"
ONE_SEARCH = "an interval needs two searches that found a rate"


def headline(run: RunRecord) -> str:
    """How much each target sustains within the limit, and the ratio; empty without a search."""
    if run.slo is None:
        return ""
    limit = f"p99 ≤ {fmt.given_ms(run.slo.p99_limit_ms)}"
    if all(one.rate_per_s is None for one in run.slo.targets.values()):
        names = " nor ".join(pick.display_name(run, name) for name in run.slo.targets)
        return fmt.one_line(f"At no rate that was tried was {limit} kept: not by {names}.")
    return fmt.one_line(f"At {limit} {_sides(run, run.slo)}{_ratio(run.slo)}.")


def _sides(run: RunRecord, slo: SloRecord) -> str:
    said, verb = [], "sustains "
    for name, one in slo.targets.items():
        who = pick.display_name(run, name)
        if one.rate_per_s is None:
            said.append(f"{who} sustains no rate that was tried")
            verb = "sustains "
        else:
            said.append(f"{who} {verb}{_bound(one)}{fmt.rate(one.rate_per_s)}")
            verb = ""
    return " and ".join(said)


def _bound(one: SloTargetRecord) -> str:
    return "at least " if one.lower_bound else ""


def _ratio(slo: SloRecord) -> str:
    if slo.ratio is None:
        return f"; no ratio: {slo.reason}" if slo.reason and slo.baseline else ""
    interval = f" (95{fmt.THIN}% interval {fmt.span(slo.interval, fmt.ratio)})" if slo.interval else ""
    alone = "" if slo.interval else f" (no interval: {slo.reason or ONE_SEARCH})"
    return f": {_ratio_bound(slo)}{fmt.ratio(slo.ratio)} times{interval}{alone}"


def _ratio_bound(slo: SloRecord) -> str:
    """A lower bound above the line bounds the ratio from below, one below the line from above."""
    bounds = [name in slo.targets and slo.targets[name].lower_bound for name in (slo.candidate, slo.baseline)]
    return {(True, False): "at least ", (False, True): "at most ", (True, True): "about "}.get(
        (bounds[0], bounds[1]), ""
    )


def remarks(run: RunRecord) -> tuple[str, ...]:
    """Why a rate is only a lower bound, and that the ratio decides nothing; one line each."""
    return tuple(map(fmt.one_line, (*_bounds(run), *_undecided(run))))


def _bounds(run: RunRecord) -> list[str]:
    return [
        f"{pick.display_name(run, name)}: {one.reason}."
        for name, one in (run.slo.targets if run.slo else {}).items()
        if one.lower_bound and one.reason
    ]


def _undecided(run: RunRecord) -> list[str]:
    interval = run.slo.interval if run.slo else None
    if run.slo is None or interval is None or not interval[0] <= 1 <= interval[1]:
        return []
    spreads = [max(found) / min(found) for one in run.slo.targets.values() if (found := _found(one))]
    return [
        "Which of the two sustains more is not decided: the interval holds 1. What two searches of the same "
        f"target found differs by up to {fmt.ratio(max(spreads))} times; more --blocks narrow the interval."
    ]


def _found(one: SloTargetRecord) -> list[float]:
    return [rate for rate in one.block_rates_per_s if rate]


def price(slo: SloRecord) -> str:
    """`at 0.40 an hour`, without a currency."""
    return "" if slo.hourly_price is None else f"at {slo.hourly_price:.2f} an hour"


def rate_table(run: RunRecord) -> Table:
    """Highest rate of each target with its interval, and the cost when a price was given."""
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
        (target_cell(name, pick.label(run, name)), *_rates(one), *(_costs(one) if costed else []))
        for name, one in slo.targets.items()
    )
    caption = f"Highest rate with p99 ≤ {fmt.given_ms(slo.p99_limit_ms)}"
    remark = f"Cost of a million inferences {price(slo)} of this machine." if costed else None
    return Table(caption, columns, rows, remark)


def _rates(one: SloTargetRecord) -> tuple[Cell, ...]:
    why = one.reason or NO_RATE
    bound = "≥ " if one.lower_bound else ""
    return (
        number(one.rate_per_s, lambda value: bound + fmt.rate_number(value), unit="/s", why=why),
        _span(one.interval, fmt.rate_number, why if one.rate_per_s is None else ONE_SEARCH),
    )


def _costs(one: SloTargetRecord) -> tuple[Cell, ...]:
    why = one.reason or NO_RATE
    bound = "≤ " if one.lower_bound else ""
    return (
        number(one.cost_per_million, lambda value: bound + fmt.significant(value), unit="", why=why),
        _span(one.cost_interval, fmt.significant, why if one.cost_per_million is None else ONE_SEARCH),
    )


def _span(ends: tuple[float, float] | None, show: fmt.Show, why: str) -> Cell:
    if ends is None:
        return missing(why)
    return word(fmt.span(ends, show), exact=f"{ends[0]} to {ends[1]}")


def search_table(run: RunRecord) -> Table:
    """The highest rate of each search: one row per target and block."""
    columns = (
        Column("target", numeric=False),
        Column("block"),
        Column("highest rate", "/s"),
        Column("measurements"),
    )
    targets = run.slo.targets if run.slo else {}
    rows = tuple(
        (
            target_cell(name, pick.label(run, name)),
            word(str(block)),
            number(rate, fmt.rate_number, unit="/s", why=NO_RATE),
            word(str(sum(point.block == block for point in one.points))),
        )
        for name, one in targets.items()
        for block, rate in zip(_blocks(one), one.block_rates_per_s, strict=False)
    )
    return Table("Each search, with fresh servers", columns, rows)


def _blocks(one: SloTargetRecord) -> list[int]:
    """The blocks' own numbers as far as they measured anything, then whatever follows."""
    seen = sorted({point.block for point in one.points})
    missing_count = len(one.block_rates_per_s) - len(seen)
    last = seen[-1] if seen else 0
    return [*seen, *range(last + 1, last + 1 + missing_count)]


def point_table(run: RunRecord) -> Table:
    """Every measurement of the searches, in the order measured."""
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
    points = [(name, p) for name, one in (run.slo.targets if run.slo else {}).items() for p in one.points]
    ordered = sorted(points, key=lambda pair: pair[1].round_index)
    return Table("Every measurement of the search", columns, tuple(_point_row(*pair) for pair in ordered))


def _point_row(name: str, point: RatePointRecord) -> tuple[Cell, ...]:
    said = {True: "kept", False: "not kept", None: "not used"}[point.met]
    why = point.reason or "no answer in time"
    return (
        word(str(point.round_index)),
        word(str(point.block)),
        target_cell(name),
        word(point.phase),
        number(point.rate_per_s, fmt.rate_number, unit="/s", why=why),
        number(point.p99_ms, fmt.significant, unit="ms", why=why),
        word(fmt.percent(point.errors_share), exact=str(point.errors_share)),
        word(said, tone="bad" if point.met is None else None),
        word(point.reason or ""),
    )

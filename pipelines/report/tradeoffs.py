"""Who is ahead in what: latency, throughput or rate, memory, image, cold start, warming up, accuracy."""

from collections.abc import Iterator
from dataclasses import dataclass

from pipelines.console import format as fmt
from pipelines.record.run import RunRecord
from pipelines.record.target import SummaryRecord
from pipelines.record.tradeoff import Measure, TradeOffRecord
from pipelines.report import pick, slo
from pipelines.report.sentences import sentence
from pipelines.report.table import Cell, Column, Table, missing, number, target_cell, word
from pipelines.report.verdicts import interval_cell, undecided

EVEN, OPEN = "even", "not decided"
NO_INTERVAL = "an interval needs servers of two blocks"
EXACT = "the figure is exact"
CHANCE = "chance alone can make the difference"
LATENCY = ("p50", "p95", "p99")


@dataclass(frozen=True)
class Kind:
    """How a measure is shown. `why`: why it is missing, where it is."""

    name: str
    show: fmt.Show
    unit: str
    why: str


KINDS: dict[Measure, Kind] = {
    "peak_memory_bytes": Kind("peak memory", lambda x: fmt.size(int(x)), "bytes", "memory was not sampled"),
    "image_bytes": Kind(
        "image size", lambda x: fmt.size(int(x)), "bytes", "it did not run in a container, so it has no image"
    ),
    "cold_start_s": Kind("cold start", fmt.seconds, "s", "its start was not timed"),
    "until_steady_s": Kind(
        "time until steady", fmt.seconds, "s", "no load on a fresh server was long enough to show it"
    ),
    "accuracy": Kind("accuracy", fmt.percent, "of 1", "the outputs choose no class, or there are no labels"),
}
REMARK = (
    "Ahead: by the verdict on the run's own interval; even: within the margin that does not matter. Peak "
    "memory, cold start (until the first right answer) and time until steady are medians over fresh servers, "
    "their ratios are of servers of one block; an image's size is exact; accuracy is the live endpoint's."
)


@dataclass(frozen=True)
class Row:
    """One measure of one pair. `ahead` is a target's name, or EVEN, OPEN or None with `why`."""

    name: str
    candidate: str
    baseline: str
    values: tuple[Cell, Cell]
    ahead: str | None
    why: str
    ratio: Cell
    interval: Cell


def table(run: RunRecord) -> Table:
    """Make a row per measure and pair of compared targets; none where nothing was compared."""
    rows = list(_rows(run))
    pairs = dict.fromkeys((row.candidate, row.baseline) for row in rows)
    several = len(pairs) > 1
    names = tuple(fmt.one_line(name) for name in next(iter(pairs), ()))
    columns = (
        Column("measure", numeric=False),
        *([Column("candidate", numeric=False), Column("baseline", numeric=False)] if several else []),
        *(Column(name) for name in (("candidate's", "baseline's") if several else names)),
        Column("ahead", numeric=False),
        Column("ratio", minor=True),
        Column("interval", f"95{fmt.THIN}%"),
    )
    cells = tuple(
        (
            word(row.name),
            *([word(row.candidate), word(row.baseline)] if several else []),
            *row.values,
            _ahead_cell(run, row),
            row.ratio,
            row.interval,
        )
        for row in rows
    )
    return Table("Trade-offs: who is ahead in what", columns, cells, REMARK)


def _ahead_cell(run: RunRecord, row: Row) -> Cell:
    if row.ahead is None:
        return missing(row.why)
    if row.ahead in (EVEN, OPEN):
        return Cell(row.ahead, why=fmt.one_line(row.why) or None)
    return target_cell(row.ahead, pick.label(run, row.ahead))


def leader(run: RunRecord) -> str | None:
    """Return the one side ahead in what the run was for, wherever anything was called; else None.

    A search sets two sides against each other, so among more of them it says nothing of the one in front.
    """
    if run.slo is not None:
        leaders = {_slo_ahead(run)} - {None, EVEN, OPEN} if len(run.slo.targets) <= 2 else set()  # noqa: PLR2004
    else:
        leaders = {
            comparison.candidate if comparison.verdict == "better" else comparison.baseline
            for comparison in pick.primary(run)
            if comparison.verdict in ("better", "worse")
        }
    return leaders.pop() if len(leaders) == 1 else None


def against(run: RunRecord, leading: str | None) -> list[str]:
    """List the trade-offs in which another side is ahead of `leading`, or of any, each with its figures."""
    return [
        f"{KINDS[off.measure].name} ({_figures(run, off)})"
        for off in run.trade_offs
        if (winner := _winner(off)) is not None and winner != leading
        if leading in (None, off.candidate, off.baseline)
    ]


def _figures(run: RunRecord, off: TradeOffRecord) -> str:
    show = KINDS[off.measure].show
    sides = ((off.candidate, off.candidate_value), (off.baseline, off.baseline_value))
    return ", ".join(
        f"{pick.display_name(run, name)} {fmt.MISSING if value is None else show(value)}"
        for name, value in sides
    )


def _winner(off: TradeOffRecord) -> str | None:
    return {"better": off.candidate, "worse": off.baseline}.get(off.verdict or "")


def _rows(run: RunRecord) -> Iterator[Row]:
    yield from _of_rounds(run)
    yield from _of_search(run)
    order = list(KINDS)
    for off in sorted(run.trade_offs, key=lambda trade_off: order.index(trade_off.measure)):
        yield _of_trade_off(off)


def _of_rounds(run: RunRecord) -> Iterator[Row]:
    """Yield the primary latency, or p99 without one, and throughput, under each load."""
    if run.slo is not None:
        return
    primary = next((pick.metric_key(record.metric) for record in pick.primary(run)), "p99")
    metrics = (primary if primary in LATENCY else "p99", pick.THROUGHPUT)
    for comparison in sorted(
        run.comparisons, key=lambda record: pick.metric_key(record.metric) == pick.THROUGHPUT
    ):
        key = pick.metric_key(comparison.metric)
        if key not in metrics:
            continue
        sides = [run.targets.get(name) for name in (comparison.candidate, comparison.baseline)]
        summaries = [pick.summary_of(side, comparison.load) if side else None for side in sides]
        candidate, baseline = (_summary_cell(summary, key) for summary in summaries)
        yield Row(
            f"{pick.metric_name(comparison.metric)} under {comparison.load}",
            comparison.candidate,
            comparison.baseline,
            (candidate, baseline),
            _ahead(comparison.verdict, comparison.candidate, comparison.baseline),
            "" if comparison.verdict == "equivalent" else undecided(comparison) or "no verdict was given",
            number(
                pick.ratio_of(comparison), fmt.ratio, unit="", why="no pair of valid rounds has this figure"
            ),
            interval_cell(comparison.interval, "an interval needs two pairs of valid rounds"),
        )


def _summary_cell(side: SummaryRecord | None, key: str) -> Cell:
    why = "no valid round of this load"
    if side is None:
        return missing(why)
    if key == pick.THROUGHPUT:
        return number(side.throughput_per_s, fmt.rate, unit="/s", why=why)
    return number(
        getattr(side.latency_ms, key), fmt.milliseconds, unit="ms", why=side.latency_ms.reasons.get(key, why)
    )


def _ahead(verdict: str | None, candidate: str, baseline: str) -> str | None:
    words = {"better": candidate, "worse": baseline, "equivalent": EVEN, "inconclusive": OPEN}
    return words.get(verdict or "")


def _of_search(run: RunRecord) -> Iterator[Row]:
    search = run.slo
    if search is None or search.baseline is None:
        return
    candidate, baseline = (search.targets[name] for name in (search.candidate, search.baseline))
    why = sentence(search.reason) if search.reason else slo.ONE_SEARCH
    yield Row(
        f"rate with p99 ≤ {fmt.given_ms(search.p99_limit_ms)}",
        search.candidate,
        search.baseline,
        (slo.rate_cell(candidate), slo.rate_cell(baseline)),
        _slo_ahead(run),
        why,
        number(search.ratio, fmt.ratio, unit="", why=why),
        interval_cell(search.interval, why),
    )


def _slo_ahead(run: RunRecord) -> str | None:
    search = run.slo
    if search is None or search.baseline is None:
        return None
    low = search.interval[0] if search.interval else search.ratio_at_least
    high = search.interval[1] if search.interval else search.ratio_at_most
    if low is not None and low > 1:
        return search.candidate
    if high is not None and high < 1:
        return search.baseline
    return None if low is None and high is None else OPEN


def _of_trade_off(off: TradeOffRecord) -> Row:
    kind = KINDS[off.measure]
    candidate, baseline = (
        number(value, kind.show, unit=kind.unit, why=kind.why)
        for value in (off.candidate_value, off.baseline_value)
    )
    exact = off.measure in ("image_bytes", "accuracy")
    why = EXACT if exact else NO_INTERVAL
    if off.candidate_value is None or off.baseline_value is None:
        why = kind.why
    ahead = _ahead(off.verdict, off.candidate, off.baseline)
    undecided = CHANCE if off.measure == "accuracy" else "" if off.interval else why
    return Row(
        kind.name,
        off.candidate,
        off.baseline,
        (candidate, baseline),
        ahead,
        undecided if ahead == OPEN else "" if ahead else why,
        number(off.ratio, fmt.ratio, unit="", why=why),
        interval_cell(off.interval, why),
    )

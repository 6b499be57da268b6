"""Who is ahead in what: latency, throughput or rate, memory, image, cold start, warming up, accuracy."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from pipelines.console import format as fmt
from pipelines.judge.rates import rate_pairs
from pipelines.record.conditioning import ConditioningRecord
from pipelines.record.run import RunRecord
from pipelines.record.target import SummaryRecord
from pipelines.record.tradeoff import Measure, TradeOffRecord
from pipelines.report import pick, slo
from pipelines.report.measured import latency_cell
from pipelines.report.sentences import sentence
from pipelines.report.table import Cell, Column, Table, missing, number, target_cell, word
from pipelines.report.verdicts import interval_cell, undecided
from pipelines.report.warming import first_loads

EVEN, OPEN = "even", "not decided"
NO_INTERVAL = "an interval needs servers of two blocks"
EXACT = "the figure is exact"
CHANCE = "chance alone can make the difference"
FEW_SAMPLES = "as many are right, of so few samples that a difference beyond the margin may hide"
OF_POSITIONS = (
    "the share is of labelled positions, of which a sample has several: what chance does to it is not known"
)
NEVER_STEADY = (
    "a fresh server was not steady when the budget of conditioning ended: its time is longer by an unknown "
    "amount, which gives a bound and no ratio"
)
NO_BOUND = {
    "unsettled": "the speed of a fresh server varied too much to show when it was steady, which gives "
    "neither a ratio nor a bound",
    "climbing": "fresh servers of both sides were not steady when the budget of conditioning ended: neither "
    "time is known, which gives neither a ratio nor a bound",
}
NOT_WITHIN = "half of its fresh servers or more were not shown to be steady within the budget of conditioning"
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
    "Ahead: by the verdict, which goes by a wider interval than the one of "
    f"95{fmt.THIN}% where several are judged together; even: within the margin that does not matter. Peak "
    "memory, cold start (until the first right answer) and time until steady are medians over fresh servers, "
    "their ratios are of servers of one block; an image's size is exact; accuracy is the live endpoint's on "
    "the held-out samples, its interval that of as many samples of the same kind. Beside a percentile its "
    f"own 95{fmt.THIN}% interval."
)


OF_RUNS = "Each row is of the newest run that has it, and of that run alone."


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


def table_of_runs(runs: Sequence[RunRecord]) -> Table:
    """Make one matrix of several runs: a row per measure and pair, each of the newest run that has it.

    So a comparison and a search of one model stand together, latency beside rate.

    Args:
        runs: of one model, the oldest first.
    """
    newest: dict[tuple[str, frozenset[str]], tuple[RunRecord, Row]] = {}
    for run in reversed(runs):
        for row in (row for row in _rows(run) if any(cell.why is None for cell in row.values)):
            newest.setdefault((row.name, frozenset((row.candidate, row.baseline))), (run, row))
    columns = (
        *(Column(name, numeric=False) for name in ("measure", "candidate", "baseline")),
        *(Column(name) for name in ("candidate's", "baseline's")),
        Column("ahead", numeric=False),
        Column("ratio", minor=True),
        Column("interval", f"95{fmt.THIN}%"),
        Column("run", numeric=False),
    )
    cells = tuple(
        (
            *(word(name) for name in (row.name, row.candidate, row.baseline)),
            *row.values,
            _ahead_cell(run, row),
            row.ratio,
            row.interval,
            word(run.run_id),
        )
        for run, row in sorted(newest.values(), key=lambda found: _place(found[1].name))
    )
    return Table("Trade-offs: who is ahead in what", columns, cells, f"{OF_RUNS} {REMARK}")


def _place(name: str) -> int:
    """Return where a measure stands: what comes from rounds or searches first, the others in their order."""
    names = [kind.name for kind in KINDS.values()]
    return names.index(name) + 1 if name in names else 0


def _ahead_cell(run: RunRecord, row: Row) -> Cell:
    if row.ahead is None:
        return missing(row.why)
    if row.ahead in (EVEN, OPEN):
        return Cell(row.ahead, why=fmt.one_line(row.why) or None)
    return target_cell(row.ahead, pick.label(run, row.ahead))


def leader(run: RunRecord) -> str | None:
    """Return the one side ahead in what the run was for, wherever anything was called; else None.

    Of a search among more than two, the one ahead of all others.
    """
    if run.slo is not None:
        pairs = rate_pairs(run)
        wins = [(pair.candidate, pair.baseline) for pair in pairs if pair.verdict == "better"]
        wins += [(pair.baseline, pair.candidate) for pair in pairs if pair.verdict == "worse"]
        beaten = {name: {loser for winner, loser in wins if winner == name} for name in run.slo.targets}
        leaders = {name for name, losers in beaten.items() if losers == run.slo.targets.keys() - {name}}
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


def open_ones(run: RunRecord) -> list[str]:
    """List the trade-offs in which it was measured who is ahead, and not decided, each with its figures."""
    return [
        f"{KINDS[off.measure].name} ({_figures(run, off)})"
        for off in run.trade_offs
        if off.verdict == "inconclusive"
    ]


def _figures(run: RunRecord, off: TradeOffRecord) -> str:
    sides = ((off.candidate, off.candidate_value), (off.baseline, off.baseline_value))
    return ", ".join(
        f"{pick.display_name(run, name)} {_figure(run, off.measure, name, value)}" for name, value in sides
    )


def _figure(run: RunRecord, measure: Measure, name: str, value: float | None) -> str:
    if value is not None:
        return KINDS[measure].show(value)
    budgets = _budgets_s(run, name) if measure == "until_steady_s" else []
    return f"not within {fmt.seconds(min(budgets))}" if budgets else fmt.MISSING


def _winner(off: TradeOffRecord) -> str | None:
    return {"better": off.candidate, "worse": off.baseline}.get(off.verdict or "")


def _rows(run: RunRecord) -> Iterator[Row]:
    yield from _of_rounds(run)
    yield from _of_search(run)
    order = list(KINDS)
    for off in sorted(run.trade_offs, key=lambda trade_off: order.index(trade_off.measure)):
        yield _of_trade_off(run, off)


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
    cell = latency_cell(side.latency_ms, key)
    return cell if cell.why else replace(cell, text=f"{cell.text}{fmt.THIN}ms")


def _ahead(verdict: str | None, candidate: str, baseline: str) -> str | None:
    words = {"better": candidate, "worse": baseline, "equivalent": EVEN, "inconclusive": OPEN}
    return words.get(verdict or "")


def _of_search(run: RunRecord) -> Iterator[Row]:
    """Yield the highest rates, a row per pair of sides."""
    for pair in rate_pairs(run):
        assert run.slo  # noqa: S101 - nothing else has pairs
        candidate, baseline = (run.slo.targets[name] for name in (pair.candidate, pair.baseline))
        why = sentence(pair.reason) if pair.reason else slo.ONE_SEARCH
        yield Row(
            f"rate with p99 ≤ {fmt.given_ms(run.slo.p99_limit_ms)}",
            pair.candidate,
            pair.baseline,
            (slo.rate_cell(candidate), slo.rate_cell(baseline)),
            _ahead(pair.verdict, pair.candidate, pair.baseline),
            "" if pair.verdict == "equivalent" else slo.undecided_because(run, pair) or why,
            slo.ratio_cell(pair, why),
            interval_cell(pair.interval, slo.BOUND_ALONE if slo.is_bounded(pair) else why),
        )


def _why_no_interval(run: RunRecord, off: TradeOffRecord) -> str:
    if off.measure == "until_steady_s" and (why := _why_never_steady(run, off)):
        return why
    sides = ((off.candidate, off.candidate_value), (off.baseline, off.baseline_value))
    without = [name for name, value in sides if value is None]
    if without and off.ratio is None:
        return _why_no_value(run, off.measure, without[0])
    if off.measure == "accuracy":
        return OF_POSITIONS
    return EXACT if off.measure == "image_bytes" else NO_INTERVAL


def _why_never_steady(run: RunRecord, off: TradeOffRecord) -> str:
    """Say what fresh servers that were not steady within their budget leave; nothing where all were.

    Of servers of the same block alone, as the ratio is.
    """
    ours, theirs = (_first_loads(run, name) for name in (off.candidate, off.baseline))
    both = ours.keys() & theirs.keys()
    states = [{side[block].state for block in both} for side in (ours, theirs)]
    if "unsettled" in states[0] | states[1]:
        return NO_BOUND["unsettled"]
    if "climbing" in states[0] & states[1]:
        return NO_BOUND["climbing"]
    return NEVER_STEADY if "climbing" in states[0] | states[1] else ""


def _first_loads(run: RunRecord, name: str) -> dict[int, ConditioningRecord]:
    """Return the first load on each fresh server that counts, by block: in blocks that were looked at."""
    if name not in run.targets:
        return {}
    looks = run.sequential.looks if run.sequential else ()
    return {
        load.block: load
        for load in first_loads(run.targets[name])
        if not looks or load.block < looks[-1].blocks_count
    }


def _budgets_s(run: RunRecord, name: str) -> list[float]:
    """Return how long fresh servers of a side were loaded that were not steady by then."""
    return [load.duration_s for load in _first_loads(run, name).values() if load.state != "steady"]


def _why_no_value(run: RunRecord, measure: Measure, name: str) -> str:
    is_late = measure == "until_steady_s" and _budgets_s(run, name)
    return NOT_WITHIN if is_late else KINDS[measure].why


def _why_open(off: TradeOffRecord, why: str) -> str:
    """Say why a verdict is open: by the interval that it goes by, where that is not the one shown."""
    if off.measure == "accuracy":
        return FEW_SAMPLES if off.candidate_value == off.baseline_value else CHANCE
    if off.interval is None:
        return why
    if off.verdict_interval in (None, off.interval):
        return ""
    confidence = fmt.confidence(off.verdict_confidence or 0)
    return f"judged by {confidence}: {fmt.span(off.verdict_interval, fmt.ratio)}"


def _of_trade_off(run: RunRecord, off: TradeOffRecord) -> Row:
    kind = KINDS[off.measure]
    why = _why_no_interval(run, off)
    candidate, baseline = (
        number(value, kind.show, unit=kind.unit, why=_why_no_value(run, off.measure, name))
        for name, value in ((off.candidate, off.candidate_value), (off.baseline, off.baseline_value))
    )
    ahead = _ahead(off.verdict, off.candidate, off.baseline)
    return Row(
        kind.name,
        off.candidate,
        off.baseline,
        (candidate, baseline),
        ahead,
        _why_open(off, why) if ahead == OPEN else "" if ahead else why,
        number(off.ratio, fmt.ratio, unit="", why=why),
        interval_cell(off.interval, why),
    )

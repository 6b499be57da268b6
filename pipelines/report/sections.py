"""What the HTML page shows of each load, and the figures of the result."""

from dataclasses import dataclass

from markupsafe import Markup

from pipelines.console import format as fmt
from pipelines.record.comparison import ComparisonRecord
from pipelines.record.run import RunRecord
from pipelines.record.target import SummaryRecord, TargetRecord
from pipelines.report import measured, mobile, mobile_tables, pick, verdicts, warming
from pipelines.report.figures import curves, draw, ecdf, forest, front, rates, rounds, throughput
from pipelines.report.table import Table


@dataclass(frozen=True)
class LegendEntry:
    """A mark and what it stands for; `faint` as it is drawn in the figure."""

    target: str
    label: str
    figures: str
    faint: bool = False


@dataclass(frozen=True)
class LoadSection:
    """What the page shows of one load."""

    name: str
    distribution: Markup | None
    rounds: Markup | None
    legend: tuple[LegendEntry, ...]
    table: Table


@dataclass(frozen=True)
class Forest:
    """The interval plot of one pair of targets under one load."""

    caption: str
    key: str
    plot: Markup


@dataclass(frozen=True)
class MobileSection:
    """What the page shows of the mobile artifacts."""

    headline: str
    reason: str
    passes: bool
    limits: str
    plot: Markup | None
    key: str
    legend: tuple[LegendEntry, ...]
    tables: tuple[Table, ...]


def slots(run: RunRecord) -> dict[str, int]:
    """Colour, dash and shape by name and by label; a control looks like the target it repeats."""
    names = (*run.targets, *(one.target for one in pick.artifacts(run)), *mobile.targets(run))
    controls = {name: target.control_of for name, target in run.targets.items() if target.control_of}
    made = draw.slots([name for name in dict.fromkeys(names) if name not in controls])
    made |= {name: made[of] for name, of in controls.items() if of in made}
    made |= draw.slots([name for name in controls if name not in made])
    return made | {pick.label(run, name): made[name] for name in run.targets}


def load_section(run: RunRecord, load: str, number: int) -> LoadSection:
    """Everything about one load; `number` keeps identifiers apart."""
    looks, summaries = slots(run), _summaries(run, load)
    found = {label: one for label, one in summaries.items() if one}
    shown = {name: target for name, target in pick.served(run).items() if target.role != "floor"}
    own = [one for one in pick.rounds_of(run, load) if one.target in shown]
    faint = {name for name, target in shown.items() if target.role == "control"}
    return LoadSection(
        name=fmt.one_line(load),
        distribution=_markup(ecdf.ecdf_plot(load, f"ecdf{number}", found, looks)),
        rounds=_markup(rounds.rounds_plot(load, f"rounds{number}", own, looks, faint)),
        legend=_legend(run, load),
        table=measured.latency_table(run, load),
    )


def _summaries(run: RunRecord, load: str) -> dict[str, SummaryRecord | None]:
    return {pick.label(run, name): pick.summary_of(target, load) for name, target in pick.shown(run).items()}


def _legend(run: RunRecord, load: str) -> tuple[LegendEntry, ...]:
    def entry(name: str, target: TargetRecord) -> LegendEntry:
        figures = _percentiles(pick.summary_of(target, load))
        return LegendEntry(name, fmt.one_line(pick.label(run, name)), figures)

    shown = [entry(name, target) for name, target in pick.shown(run).items()]
    controls = [
        LegendEntry(name, fmt.one_line(pick.label(run, name)), "small and pale among the rounds", faint=True)
        for name, target in pick.served(run).items()
        if target.role == "control" and any(one.load == load for one in target.rounds)
    ]
    return (*shown, *controls)


def _percentiles(summary: SummaryRecord | None) -> str:
    if summary is None:
        return "no valid round"
    found = [(which, getattr(summary.latency_ms, which)) for which in ecdf.MARKED]
    return ", ".join(
        f"{which} {fmt.milliseconds(value) if value is not None else fmt.MISSING}" for which, value in found
    )


def throughput_figure(run: RunRecord) -> Markup | None:
    """Bars of all loads."""
    loads = {load: _summaries(run, load) for load in pick.loads(run)}
    return _markup(throughput.throughput_plot(loads, "throughput", slots(run)))


def forests(run: RunRecord) -> tuple[Forest, ...]:
    """One interval plot per load and pair of targets."""
    keys = dict.fromkeys((one.load, one.candidate, one.baseline) for one in run.comparisons)
    made = [
        _forest(run, [one for one in run.comparisons if (one.load, one.candidate, one.baseline) == key], at)
        for at, key in enumerate(keys, start=1)
    ]
    return tuple(one for one in made if one)


def _forest(run: RunRecord, own: list[ComparisonRecord], number: int) -> Forest | None:
    candidate, baseline = (pick.display_name(run, name) for name in (own[0].candidate, own[0].baseline))
    caption = fmt.one_line(f"{candidate} / {baseline} under {own[0].load}")
    rows = [forest.Row(one) for one in own]
    plot = _markup(forest.forest_plot(f"Ratios: {caption}", f"forest{number}", candidate, rows))
    return None if plot is None else Forest(caption, _key(own), plot)


def _key(own: list[ComparisonRecord]) -> str:
    floor = any(one.noise_floor is not None for one in own)
    said = "dashed: noise floor" if floor else "no noise floor"
    wider = "thin: what a corrected verdict goes by, " if any(map(verdicts.judged_wider, own)) else ""
    bar = f"bar: 95 % interval, {wider}dots: single pairs"
    return f"{bar}, shaded: differences that do not matter, {said}"


def rates_figure(run: RunRecord) -> Markup | None:
    """The curve of an SLO search."""
    return None if run.slo is None else _markup(rates.rates_plot(run.slo, "rates", slots(run)))


def curves_figure(run: RunRecord) -> Markup | None:
    """Throughput of fresh servers over their first seconds."""
    return _markup(curves.curves_plot(warming.curves(run), "curves", slots(run)))


def mobile_section(run: RunRecord) -> MobileSection | None:
    """Everything about the mobile artifacts; None when the run has none."""
    if run.mobile is None:
        return None
    return MobileSection(
        headline=mobile.headline(run.mobile),
        reason=mobile.reason(run.mobile),
        passes=run.mobile.gate.chosen is not None,
        limits=mobile.limits(run.mobile),
        plot=_markup(front.front_plot(run.mobile, "front", slots(run))),
        key=mobile.key(run.mobile),
        legend=tuple(
            LegendEntry(name, fmt.one_line(name), mobile.road(name)) for name in mobile.targets(run)
        ),
        tables=tuple(mobile_tables.tables(run)),
    )


def _markup(svg: str | None) -> Markup | None:
    """Figures are XML trees written out, so every name in them is escaped already."""
    return None if svg is None else Markup(svg)  # noqa: S704

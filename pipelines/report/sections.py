"""What the HTML page shows of each load, and the figures of the result."""

from dataclasses import dataclass

from markupsafe import Markup

from pipelines.console import format as fmt
from pipelines.record.comparison import ComparisonRecord
from pipelines.record.rounds import RoundRecord
from pipelines.record.run import RunRecord
from pipelines.record.target import SummaryRecord, TargetRecord
from pipelines.report import data, measured, mobile, mobile_tables, pick, time_split, verdicts, warming
from pipelines.report.figures import (
    curves,
    draw,
    ecdf,
    forest,
    front,
    load_curve,
    losses,
    rates,
    rounds,
    stacked,
    surface,
    throughput,
    timeline,
)
from pipelines.report.table import Table


@dataclass(frozen=True)
class LegendEntry:
    """A mark and what it stands for; `faint` as it is drawn in the figure."""

    target: str
    label: str
    figures: str
    faint: bool = False


@dataclass(frozen=True)
class Plot:
    """A figure with all that stands around it.

    `name` is an identifier that no other figure of the page has, `key` says how to read it, `data` is what it
    was drawn from, as CSV. One with a `readout` tells what the pointer is at.
    """

    name: str
    caption: str
    key: str
    svg: Markup
    data: str
    legend: tuple[LegendEntry, ...] = ()
    readout: bool = False


@dataclass(frozen=True)
class LoadSection:
    """What the page shows of one load."""

    name: str
    legend: tuple[LegendEntry, ...]
    plots: tuple[Plot, ...]
    timeline: Plot | None
    table: Table


@dataclass(frozen=True)
class MobileSection:
    """What the page shows of the mobile artifacts."""

    headline: str
    reason: str
    passes: bool
    limits: str
    plot: Plot | None
    tables: tuple[Table, ...]


def slots(run: RunRecord) -> dict[str, int]:
    """Return colour, dash and shape by name and by label; a control looks like the target it repeats."""
    frameworks = run.training.frameworks if run.training else ()
    names = (
        *run.targets,
        *frameworks,
        *(artifact.target for artifact in pick.artifacts(run)),
        *mobile.targets(run),
    )
    controls = {name: target.control_of for name, target in run.targets.items() if target.control_of}
    looks = draw.slots([name for name in dict.fromkeys(names) if name not in controls])
    looks |= {name: looks[of] for name, of in controls.items() if of in looks}
    looks |= draw.slots([name for name in controls if name not in looks])
    return looks | {pick.label(run, name): looks[name] for name in run.targets}


def load_section(run: RunRecord, load: str, number: int, most_rounds: int = 600) -> LoadSection:
    """Gather everything about one load; `number` keeps identifiers apart."""
    looks, summaries = slots(run), _summaries(run, load)
    present = {label: summary for label, summary in summaries.items() if summary}
    served = {name: target for name, target in pick.served(run).items() if target.role != "floor"}
    every = [record for record in pick.rounds_of(run, load) if record.target in served]
    own, thinned = pick.thinned(every, most_rounds)
    faint = {name for name, target in served.items() if target.role == "control"}
    plots = (
        _plot(
            f"ecdf{number}",
            f"Distribution of latency under {load}",
            "all valid rounds, marked at p50 and p99",
            ecdf.ecdf_plot(load, f"ecdf{number}", present, looks),
            data.of_distributions(present),
            readout=True,
        ),
        _plot(
            f"rounds{number}",
            f"Every round under {load}",
            f"{thinned}filled p50, hollow p99, crossed out: not used, number: which try, "
            "dashed: fresh servers",
            rounds.rounds_plot(load, f"rounds{number}", own, looks, faint),
            data.of_rounds(own),
        ),
    )
    return LoadSection(
        name=fmt.one_line(load),
        legend=_legend(run, load),
        plots=tuple(plot for plot in plots if plot),
        timeline=timeline_figure(run, f"timeline{number}", every, most_rounds, f" under {load}"),
        table=measured.latency_table(run, load),
    )


def timeline_figure(
    run: RunRecord, name: str, every: list[RoundRecord], most_rounds: int, under: str = ""
) -> Plot | None:
    """Draw latency and throughput of the compared targets over the time of the run."""
    compared = pick.compared(run)
    own, thinned = pick.thinned([record for record in every if record.target in compared], most_rounds)
    caption = f"Latency and throughput over the run{under}"
    unused = {record.index for record in pick.unused(run)}
    return _plot(
        name,
        caption,
        f"{thinned}line: p50 and requests answered, dots: slowest request of a stretch, shaded: not used, "
        "dashed: fresh servers",
        timeline.timeline_plot(own, name, slots(run), unused, caption),
        data.of_slices(own),
        legend=tuple(LegendEntry(side, fmt.one_line(side), "") for side in compared),
    )


def load_curve_figure(run: RunRecord) -> Plot | None:
    """Draw latency against throughput of the compared targets, a point per load."""
    order = pick.loads(run)
    curves_by = {
        name: [
            summary for load in order if (summary := pick.summary_of(target, load)) and summary.rounds_count
        ]
        for name, target in pick.compared(run).items()
    }
    return _plot(
        "load-curve",
        "Latency against throughput",
        "one point per load; filled p50, hollow p99 with the load's name; bars: interval of the percentile, "
        "and lowest to highest single round",
        load_curve.load_curve_plot(curves_by, "load-curve", slots(run)),
        data.of_summaries(curves_by),
        legend=tuple(LegendEntry(name, fmt.one_line(name), "") for name in curves_by),
    )


def _plot(
    name: str,
    caption: str,
    key: str,
    svg: str | None,
    csv: str,
    legend: tuple[LegendEntry, ...] = (),
    *,
    readout: bool = False,
) -> Plot | None:
    """Wrap a figure, an XML tree written out, so that every name in it is escaped already."""
    if svg is None:
        return None
    return Plot(name, fmt.one_line(caption), key, Markup(svg), csv, legend, readout)  # noqa: S704


def _summaries(run: RunRecord, load: str) -> dict[str, SummaryRecord | None]:
    return {pick.label(run, name): pick.summary_of(target, load) for name, target in pick.shown(run).items()}


def _legend(run: RunRecord, load: str) -> tuple[LegendEntry, ...]:
    def entry(name: str, target: TargetRecord) -> LegendEntry:
        figures = _percentiles(pick.summary_of(target, load))
        return LegendEntry(name, fmt.one_line(pick.label(run, name)), figures)

    entries = [entry(name, target) for name, target in pick.shown(run).items()]
    controls = [
        LegendEntry(name, fmt.one_line(pick.label(run, name)), "small and pale among the rounds", faint=True)
        for name, target in pick.served(run).items()
        if target.role == "control" and any(record.load == load for record in target.rounds)
    ]
    return (*entries, *controls)


def _percentiles(summary: SummaryRecord | None) -> str:
    if summary is None:
        return "no valid round"
    percentiles = [(which, getattr(summary.latency_ms, which)) for which in ecdf.MARKED]
    return ", ".join(
        f"{which} {fmt.milliseconds(value) if value is not None else fmt.MISSING}"
        for which, value in percentiles
    )


def throughput_figure(run: RunRecord) -> Plot | None:
    """Draw bars of all loads."""
    loads = {load: _summaries(run, load) for load in pick.loads(run)}
    names = dict.fromkeys(name for own in loads.values() for name in own)
    return _plot(
        "throughput",
        "Requests answered per second",
        "bar: pooled, whisker: lowest to highest single round",
        throughput.throughput_plot(loads, "throughput", slots(run)),
        data.of_summaries({name: [own.get(name) for own in loads.values()] for name in names}),
    )


def time_figure(run: RunRecord) -> Plot | None:
    """Draw where the time of a request goes, a bar per side and load."""
    splits = {
        load: {pick.label(run, name): split for name, split in own.items()}
        for load, own in time_split.splits(run).items()
    }
    return _plot(
        "time-split",
        "Where the time goes",
        "mean time of a request by part, as the servers tell; the thin line to p50 is what no part explains",
        stacked.time_plot(splits, "time-split"),
        data.of_time_splits(splits),
    )


def forest_keys(run: RunRecord) -> tuple[tuple[str, str, str], ...]:
    """Return the load, candidate and baseline of every interval plot."""
    return tuple(
        dict.fromkeys(
            (comparison.load, comparison.candidate, comparison.baseline) for comparison in run.comparisons
        )
    )


def forests(run: RunRecord, most: int = 12) -> tuple[Plot, ...]:
    """Draw one interval plot per load and pair of targets, the first `most` of them."""
    keys = forest_keys(run)[:most]
    plots = [
        _forest(
            run,
            [
                comparison
                for comparison in run.comparisons
                if (comparison.load, comparison.candidate, comparison.baseline) == key
            ],
            at,
        )
        for at, key in enumerate(keys, start=1)
    ]
    return tuple(plot for plot in plots if plot)


def _forest(run: RunRecord, own: list[ComparisonRecord], number: int) -> Plot | None:
    candidate, baseline = (pick.display_name(run, name) for name in (own[0].candidate, own[0].baseline))
    caption = fmt.one_line(f"{candidate} / {baseline} under {own[0].load}")
    rows, name = [forest.Row(comparison) for comparison in own], f"forest{number}"
    svg = forest.forest_plot(f"Ratios: {caption}", name, candidate, rows)
    return _plot(name, caption, _key(own), svg, data.of_comparisons(own))


def _key(own: list[ComparisonRecord]) -> str:
    floor = any(comparison.noise_floor is not None for comparison in own)
    noise = "dashed: noise floor" if floor else "no noise floor"
    wider = "thin: what a corrected verdict goes by, " if any(map(verdicts.judged_wider, own)) else ""
    bar = f"bar: 95{fmt.THIN}% interval, {wider}dots: single pairs"
    return f"{bar}, shaded: differences that do not matter, {noise}"


def rates_figure(run: RunRecord) -> Plot | None:
    """Draw the curve of an SLO search."""
    if run.slo is None:
        return None
    return _plot(
        "rates",
        "p99 against rate",
        "filled: limit kept, hollow: not kept, crossed out: round not used, ring: confirmation; one line per "
        f"block; at the bottom the highest rate with its 95{fmt.THIN}% interval",
        rates.rates_plot(run.slo, "rates", slots(run)),
        data.of_search(run.slo),
        legend=tuple(LegendEntry(name, fmt.one_line(name), "") for name in run.slo.targets),
    )


def surface_figures(run: RunRecord) -> list[Plot]:
    """Draw the response surface of every side of a search for a configuration."""
    plots = []
    for number, side in enumerate(run.tune.sides.values() if run.tune else (), start=1):
        slot = slots(run).get(side.final[0], 0) if side.final else 0
        plot = _plot(
            f"surface-{number}",
            f"Highest rate of {fmt.one_line(side.target)} by configuration",
            "one bracket a configuration: from the highest rate that kept the limit, the mark, to the lowest "
            "that did not; hollow: kept at no rate that was tried; ring: the best; line: the best of a level",
            surface.surface_plot(side, f"surface-{number}", slot),
            data.of_trials(side),
        )
        if plot is not None:
            plots.append(plot)
    return plots


def curves_figure(run: RunRecord, most_servers: int = 60) -> Plot | None:
    """Draw throughput, p50 and CPU per request of fresh servers over their first seconds."""
    side_curves, thinned = warming.curves(run, most_servers)
    return _plot(
        "curves",
        "Throughput, p50 and CPU per request of fresh servers",
        f"{thinned}one line per start, every second of its first load; the mark is where it was steady from",
        curves.curves_plot(side_curves, "curves", slots(run)),
        data.of_curves(side_curves),
        legend=tuple(LegendEntry(name, fmt.one_line(name), "") for name in side_curves),
    )


def losses_figure(run: RunRecord) -> Plot | None:
    """Draw the loss over epochs of every training."""
    if run.training is None:
        return None
    return _plot(
        "losses",
        "Loss over epochs",
        "one line per training, over its samples while the weights moved; dashed: its control",
        losses.losses_plot(run.training.trainings, "losses", slots(run)),
        data.of_trainings(run.training),
        legend=tuple(LegendEntry(name, name, "") for name in run.training.frameworks),
    )


def mobile_section(run: RunRecord) -> MobileSection | None:
    """Gather everything about the mobile artifacts; return None when the run has none."""
    if run.mobile is None:
        return None
    names = mobile.targets(run)
    return MobileSection(
        headline=mobile.headline(run.mobile),
        reason=mobile.reason(run.mobile),
        passes=run.mobile.gate.chosen is not None,
        limits=mobile.limits(run.mobile),
        plot=_plot(
            "front",
            "Size against accuracy",
            mobile.key(run.mobile),
            front.front_plot(run.mobile, "front", slots(run)),
            data.of_artifacts(run.mobile),
            legend=tuple(LegendEntry(name, fmt.one_line(name), mobile.road(name)) for name in names),
        ),
        tables=tuple(mobile_tables.tables(run)),
    )

"""The report as one HTML file that opens without a network, small at any length of the run."""

import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from pipelines.console import format as fmt
from pipelines.record.run import RunRecord
from pipelines.report import (
    answers,
    banners,
    efficiency,
    measured,
    mobile_tables,
    pick,
    protocols,
    sections,
    slo,
    subjects,
    time_split,
    tradeoffs,
    training,
    tune,
    verdicts,
    warming,
)
from pipelines.report.figures import draw
from pipelines.report.table import Table, first_rows, within_bytes

Item = TypeVar("Item")

BODY_CHARACTERS = 600
MOST_NAMED = 20
LEAST_LISTED = 20
"""Of warnings and logs, which have a place on every page, however long the run."""
LIMIT_BYTES = 1_500_000


@dataclass(frozen=True)
class Limits:
    """How much of what grows with a run is shown.

    Rows of a table, rounds in all figures, loads in detail, fresh servers in their figure, and bytes of a
    figure with its data: a larger one is left out.
    """

    rows: int
    rounds: int
    loads: int
    servers: int
    figure_bytes: int = LIMIT_BYTES


# With the last, which has neither table nor figure, a page has what does not grow with a run.
LIMITS = (
    Limits(400, 600, 12, 60),
    Limits(150, 240, 8, 40),
    Limits(60, 90, 4, 20),
    Limits(20, 24, 2, 10),
    Limits(20, 24, 2, 10, 40_000),
    Limits(0, 24, 0, 0, 0),
)


def render_html(run: RunRecord) -> str:
    """Render the whole page, styles, figures and script inside; nothing is fetched. Same record, same text.

    Of a long run the page shows less, until it has no more than LIMIT_BYTES.
    """
    page = ""
    for limits in LIMITS:
        page = _render(run, limits)
        if len(page.encode()) <= LIMIT_BYTES:
            break
    return page


class Kept:
    """Keeps the figures that are small enough, the tables that have a place, and the names of all others."""

    def __init__(self, limits: Limits) -> None:
        self.left_out: list[str] = []
        self._limits = limits

    def filled(self, *tables: Table) -> list[Table]:
        """Return the tables with a row, each with as many as there is room for."""
        with_rows = [table for table in tables if table.rows]
        if not self._limits.rows:
            self.left_out += [f"the table “{table.caption}”" for table in with_rows]
            return []
        return [first_rows(table, self._limits.rows) for table in with_rows]

    def some(self, what: str, items: Sequence[Item], most: int) -> Sequence[Item]:
        """Return the first `most` items; how many more of what there are is said."""
        if len(items) > most:
            self.left_out.append(f"{what} ({len(items) - most} of {len(items)})")
        return items[:most]

    def has_place(self, what: str, has_place: bool) -> bool:
        """Return whether it has a place; what has none is named."""
        if not has_place:
            self.left_out.append(what)
        return has_place

    def figure(self, plot: sections.Plot | None) -> sections.Plot | None:
        """Return the figure; None where there is none, or too large a one."""
        if plot is None or len(plot.svg.encode()) + len(plot.data.encode()) <= self._limits.figure_bytes:
            return plot
        self.left_out.append(plot.caption)
        return None

    def figures(self, plots: Iterable[sections.Plot]) -> tuple[sections.Plot, ...]:
        """Return those of several figures that are small enough."""
        return tuple(kept for plot in plots if (kept := self.figure(plot)))


def _render(run: RunRecord, limits: Limits) -> str:
    kept = Kept(limits)
    swatches = {name: Markup(draw.swatch(slot)) for name, slot in sections.slots(run).items()}  # noqa: S704
    return page_template(
        "report.html.j2"
    ).render(
        run=run,
        any_load=bool(pick.loads(run)),
        title=f"{fmt.one_line(run.model.name)} – Tandem {fmt.one_line(run.run_id)}",  # noqa: RUF001
        model_name=fmt.one_line(run.model.name),
        swatches=swatches,
        **_result(run, limits, kept),
        **_load(run, limits, kept),
        mobile=_mobile(run, kept),
        training=_training(run, kept),
        **_background(run, kept),
        **_end(run, limits, kept),
        left_out=kept.left_out[:MOST_NAMED],
        left_out_count=len(kept.left_out),
    )


def _result(run: RunRecord, limits: Limits, kept: Kept) -> dict[str, object]:
    tables = (
        tune.claim_table(run),
        tradeoffs.table(run),
        verdicts.verdict_table(run),
        slo.rate_table(run),
    )
    pictured = kept.some("pictures of ratios", sections.forest_keys(run), limits.loads)
    every = pick.all_rounds(run)
    timeline = sections.timeline_figure(run, "timeline", every, limits.rounds) if run.slo else None
    return {
        "banners": banners.banners(run),
        "answer": None if run.kind == "mobile" else answers.answer(run),
        "remarks": (*tune.remarks(run), *slo.remarks(run), *answers.remarks(run)),
        "forests": kept.figures(sections.forests(run, len(pictured))),
        "result_tables": kept.filled(*tables),
        "rates": kept.figure(sections.rates_figure(run)),
        "load_curve": None if run.slo else kept.figure(sections.load_curve_figure(run)),
        "timeline": kept.figure(timeline),
        "search": kept.filled(slo.search_table(run)),
        "surfaces": kept.figures(sections.surface_figures(run)),
        "tried": kept.filled(tune.setting_table(run), tune.trial_table(run)),
        "warnings": kept.some("warnings", banners.warnings(run), max(limits.rows, LEAST_LISTED)),
        "implementations": subjects.implementation_table(run),
    }


def _load(run: RunRecord, limits: Limits, kept: Kept) -> dict[str, object]:
    """Return the sections of given loads; an SLO search tries so many rates that its curve replaces them."""
    if run.slo is not None:
        return {
            "loads": [],
            "more_loads": [],
            "throughput": None,
            "time_split": None,
            "time_tables": [],
            "noise": [],
            **_warming(run, limits, kept),
        }
    loads = pick.loads(run)
    shown = kept.some("loads", loads, limits.rows)
    detailed, others = shown[: limits.loads], shown[limits.loads :]
    share = max(12, limits.rounds // max(1, len(detailed)))
    load_sections = [
        _kept(sections.load_section(run, load, number, share), kept)
        for number, load in enumerate(detailed, start=1)
    ]
    time_figure = None
    if kept.has_place("where the time goes", len(loads) <= limits.loads or not time_split.splits(run)):
        time_figure = sections.time_figure(run)
    throughput = None
    if kept.has_place("throughput", len(loads) <= limits.rows):
        throughput = sections.throughput_figure(run)
    return {
        "loads": load_sections,
        "more_loads": [measured.latency_table(run, load) for load in others],
        "throughput": kept.figure(throughput),
        "time_split": kept.figure(time_figure),
        "time_tables": kept.filled(time_split.time_table(run)),
        "noise": kept.filled(
            protocols.protocol_table(run), efficiency.efficiency_table(run), verdicts.noise_table(run)
        ),
        **_warming(run, limits, kept),
    }


def _kept(section: sections.LoadSection, kept: Kept) -> sections.LoadSection:
    """Return a load's section with the figures that are small enough."""
    return replace(section, plots=kept.figures(section.plots), timeline=kept.figure(section.timeline))


def _warming(run: RunRecord, limits: Limits, kept: Kept) -> dict[str, object]:
    any_curve = any(map(warming.first_loads, pick.compared(run).values()))
    curves = None
    if kept.has_place("fresh servers until they were steady", bool(limits.servers) or not any_curve):
        curves = sections.curves_figure(run, limits.servers)
    return {
        "curves": kept.figure(curves),
        "warming": kept.filled(warming.warming_table(run), warming.drift_table(run)),
    }


def _training(run: RunRecord, kept: Kept) -> dict[str, object] | None:
    if run.kind != "train":
        return None
    return {
        "plot": kept.figure(sections.losses_figure(run)),
        "tables": kept.filled(*training.tables(run)),
    }


def _mobile(run: RunRecord, kept: Kept) -> sections.MobileSection | None:
    section = sections.mobile_section(run)
    if section is None:
        return None
    tables = tuple(kept.filled(*section.tables))
    return replace(section, plot=kept.figure(section.plot), tables=tables)


def _background(run: RunRecord, kept: Kept) -> dict[str, object]:
    filled = kept.filled
    return {
        "before": filled(subjects.artifact_table(run), subjects.parity_table(run)),
        "given": filled(verdicts.fairness_table(run), subjects.configuration_table(run)),
        "servers": filled(
            measured.image_table(run), measured.memory_table(run), measured.cold_start_table(run)
        ),
        "about": filled(subjects.model_table(run), subjects.method_table(run), subjects.machine_table(run)),
        "body": fmt.shortened(fmt.visible(run.payload.body_example), BODY_CHARACTERS)
        if run.payload
        else None,
        "body_title": subjects.body_title(run),
    }


def _end(run: RunRecord, limits: Limits, kept: Kept) -> dict[str, object]:
    rounds = (measured.rounds_table(run), measured.conditions_table(run), measured.errors_table(run))
    timings = mobile_tables.timing_table(run)
    logs = [(name, target.log_file) for name, target in run.targets.items() if target.log_file]
    return {
        "invalid": kept.filled(measured.invalid_table(run)),
        "command": shlex.join(run.command),
        "raw": subjects.raw_files(run),
        "rounds": kept.filled(slo.point_table(run), *rounds, timings),
        "logs": kept.some("logs of servers", logs, max(limits.rows, LEAST_LISTED)),
    }


class Identifiers:
    """Identifiers of sections, figures and tables: of their captions, each once on a page."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def __call__(self, caption: str) -> str:
        """Return an identifier that no other call has given."""
        start = re.sub(r"[^a-z0-9]+", "-", caption.lower()).strip("-")[:60] or "part"
        identifier, number = start, 1
        while identifier in self._taken:
            number += 1
            identifier = f"{start}-{number}"
        self._taken.add(identifier)
        return identifier


def page_template(name: str) -> Template:
    """Return a template of a page, with identifiers of its own.

    What is not markup of ours is escaped, and looked at a last time.
    """
    loader = PackageLoader("pipelines.report")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, finalize=_finalized
    )
    environment.lstrip_blocks = True
    environment.filters |= {"one_line": fmt.one_line, "breakable": _breakable, "lines": _lines}
    environment.filters["bounded"] = within_bytes
    environment.globals["identifier"] = Identifiers()
    return environment.get_template(name)


def _finalized(value: object) -> object:
    return fmt.visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _lines(text: str) -> Markup:
    """Keep the line ends of CSV text, whose cells were looked at one by one."""
    return Markup("\n").join(fmt.visible(line) for line in text.split("\n"))


def _breakable(text: str) -> Markup:
    """Let a path or digest break after a separator or 16 characters; copied, it is unbroken."""
    return Markup("<wbr>").join(re.findall(r"[^/_.-]{1,16}[/_.-]?|[/_.-]", fmt.one_line(text)))

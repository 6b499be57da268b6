"""The report as one HTML file that opens without a network, small at any length of the run."""

import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass, replace

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

BODY_CHARACTERS = 600
MOST_NAMED = 20
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


class Figures:
    """Keeps the figures that are small enough, and the captions of those that are left out."""

    def __init__(self, most_bytes: int) -> None:
        self.left_out: list[str] = []
        self._most_bytes = most_bytes

    def kept(self, plot: sections.Plot | None) -> sections.Plot | None:
        """Return the figure; None where there is none, or too large a one."""
        if plot is None or len(plot.svg.encode()) + len(plot.data.encode()) <= self._most_bytes:
            return plot
        self.left_out.append(plot.caption)
        return None

    def kept_of(self, plots: Iterable[sections.Plot]) -> tuple[sections.Plot, ...]:
        """Return those of several figures that are small enough."""
        return tuple(kept for plot in plots if (kept := self.kept(plot)))


def _render(run: RunRecord, limits: Limits) -> str:
    figures = Figures(limits.figure_bytes)
    swatches = {name: Markup(draw.swatch(slot)) for name, slot in sections.slots(run).items()}  # noqa: S704
    return page_template(
        "report.html.j2"
    ).render(
        run=run,
        any_load=bool(pick.loads(run)),
        title=f"{fmt.one_line(run.model.name)} – Tandem {fmt.one_line(run.run_id)}",  # noqa: RUF001
        model_name=fmt.one_line(run.model.name),
        swatches=swatches,
        **_result(run, limits, figures),
        **_load(run, limits, figures),
        mobile=_mobile(run, limits, figures),
        training=_training(run, limits, figures),
        **_background(run, limits),
        **_end(run, limits),
        left_out=figures.left_out[:MOST_NAMED],
        left_out_count=len(figures.left_out),
    )


def _result(run: RunRecord, limits: Limits, figures: Figures) -> dict[str, object]:
    tables = (
        tune.claim_table(run),
        tradeoffs.table(run),
        verdicts.verdict_table(run),
        slo.rate_table(run),
    )
    every = pick.all_rounds(run)
    timeline = sections.timeline_figure(run, "timeline", every, limits.rounds) if run.slo else None
    return {
        "banners": banners.banners(run),
        "answer": None if run.kind == "mobile" else answers.answer(run),
        "remarks": (*tune.remarks(run), *slo.remarks(run), *answers.remarks(run)),
        "forests": figures.kept_of(sections.forests(run, limits.loads)),
        "result_tables": _filled(*tables, most=limits.rows),
        "rates": figures.kept(sections.rates_figure(run)),
        "load_curve": None if run.slo else figures.kept(sections.load_curve_figure(run)),
        "timeline": figures.kept(timeline),
        "search": _filled(slo.search_table(run), most=limits.rows),
        "surfaces": figures.kept_of(sections.surface_figures(run)),
        "tried": _filled(tune.setting_table(run), tune.trial_table(run), most=limits.rows),
        "warnings": banners.warnings(run)[: limits.rows],
        "implementations": subjects.implementation_table(run),
    }


def _load(run: RunRecord, limits: Limits, figures: Figures) -> dict[str, object]:
    """Return the sections of given loads; an SLO search tries so many rates that its curve replaces them."""
    if run.slo is not None:
        return {
            "loads": [],
            "more_loads": [],
            "throughput": None,
            "time_split": None,
            "time_tables": [],
            "noise": [],
            **_warming(run, limits, figures),
        }
    loads = pick.loads(run)
    detailed, others = loads[: limits.loads], loads[limits.loads : limits.rows]
    share = max(12, limits.rounds // max(1, len(detailed)))
    load_sections = [
        _kept(sections.load_section(run, load, number, share), figures)
        for number, load in enumerate(detailed, start=1)
    ]
    time_figure = sections.time_figure(run) if len(loads) <= limits.loads else None
    return {
        "loads": load_sections,
        "more_loads": [measured.latency_table(run, load) for load in others],
        "throughput": figures.kept(sections.throughput_figure(run)) if len(loads) <= limits.rows else None,
        "time_split": figures.kept(time_figure),
        "time_tables": _filled(time_split.time_table(run), most=limits.rows),
        "noise": _filled(
            protocols.protocol_table(run),
            efficiency.efficiency_table(run),
            verdicts.noise_table(run),
            most=limits.rows,
        ),
        **_warming(run, limits, figures),
    }


def _kept(section: sections.LoadSection, figures: Figures) -> sections.LoadSection:
    """Return a load's section with the figures that are small enough."""
    return replace(section, plots=figures.kept_of(section.plots), timeline=figures.kept(section.timeline))


def _warming(run: RunRecord, limits: Limits, figures: Figures) -> dict[str, object]:
    return {
        "curves": figures.kept(sections.curves_figure(run, limits.servers)) if limits.servers else None,
        "warming": _filled(warming.warming_table(run), warming.drift_table(run), most=limits.rows),
    }


def _training(run: RunRecord, limits: Limits, figures: Figures) -> dict[str, object] | None:
    if run.kind != "train":
        return None
    return {
        "plot": figures.kept(sections.losses_figure(run)),
        "tables": _filled(*training.tables(run), most=limits.rows),
    }


def _mobile(run: RunRecord, limits: Limits, figures: Figures) -> sections.MobileSection | None:
    section = sections.mobile_section(run)
    if section is None:
        return None
    tables = tuple(_filled(*section.tables, most=limits.rows))
    return replace(section, plot=figures.kept(section.plot), tables=tables)


def _background(run: RunRecord, limits: Limits) -> dict[str, object]:
    def filled(*tables: Table) -> list[Table]:
        return _filled(*tables, most=limits.rows)

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


def _end(run: RunRecord, limits: Limits) -> dict[str, object]:
    rounds = (measured.rounds_table(run), measured.conditions_table(run), measured.errors_table(run))
    timings = mobile_tables.timing_table(run)
    logs = [(name, target.log_file) for name, target in run.targets.items() if target.log_file]
    return {
        "invalid": _filled(measured.invalid_table(run), most=limits.rows),
        "command": shlex.join(run.command),
        "raw": subjects.raw_files(run),
        "rounds": _filled(slo.point_table(run), *rounds, timings, most=limits.rows),
        "logs": logs[: limits.rows],
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


def _filled(*tables: Table, most: int) -> list[Table]:
    return [first_rows(table, most) for table in tables if table.rows and most]

"""The report as one HTML file that opens without a network."""

import re
import shlex

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from pipelines.console import format as fmt
from pipelines.record.run import RunRecord
from pipelines.report import (
    answers,
    banners,
    measured,
    mobile_tables,
    pick,
    sections,
    slo,
    subjects,
    tradeoffs,
    verdicts,
    warming,
)
from pipelines.report.figures import draw
from pipelines.report.table import Table

BODY_CHARACTERS = 600


def render_html(run: RunRecord) -> str:
    """The whole page: styles, figures and script are inside, nothing is fetched. Same record, same text."""
    swatches = {name: Markup(draw.swatch(slot)) for name, slot in sections.slots(run).items()}  # noqa: S704
    page = _environment().get_template("report.html.j2")
    return page.render(
        run=run,
        model_name=fmt.one_line(run.model.name),
        swatches=swatches,
        **_result(run),
        **_load(run),
        mobile=sections.mobile_section(run),
        **_background(run),
        **_end(run),
    )


def _result(run: RunRecord) -> dict[str, object]:
    return {
        "banners": banners.banners(run),
        "answer": None if run.kind == "mobile" else answers.answer(run),
        "remarks": (*slo.remarks(run), *answers.remarks(run)),
        "forests": sections.forests(run),
        "result_tables": _filled(tradeoffs.table(run), verdicts.verdict_table(run), slo.rate_table(run)),
        "rates": sections.rates_figure(run),
        "search": _filled(slo.search_table(run)),
        "warnings": banners.warnings(run),
        "implementations": subjects.implementation_table(run),
    }


def _load(run: RunRecord) -> dict[str, object]:
    """The sections of given loads; an SLO search tries so many rates that its curve stands for them."""
    if run.slo is not None:
        return {"loads": [], "throughput": None, "noise": [], **_warming(run)}
    found = [sections.load_section(run, load, number) for number, load in enumerate(pick.loads(run), start=1)]
    noise = _filled(verdicts.noise_table(run))
    return {"loads": found, "throughput": sections.throughput_figure(run), "noise": noise, **_warming(run)}


def _warming(run: RunRecord) -> dict[str, object]:
    return {
        "curves": sections.curves_figure(run),
        "warming": _filled(warming.warming_table(run), warming.drift_table(run)),
    }


def _background(run: RunRecord) -> dict[str, object]:
    return {
        "before": _filled(subjects.artifact_table(run), subjects.parity_table(run)),
        "given": _filled(verdicts.fairness_table(run), subjects.configuration_table(run)),
        "servers": _filled(
            measured.image_table(run), measured.memory_table(run), measured.cold_start_table(run)
        ),
        "about": _filled(subjects.model_table(run), subjects.method_table(run), subjects.machine_table(run)),
        "body": fmt.shortened(fmt.visible(run.payload.body_example), BODY_CHARACTERS)
        if run.payload
        else None,
    }


def _end(run: RunRecord) -> dict[str, object]:
    rounds = (measured.rounds_table(run), measured.conditions_table(run), measured.errors_table(run))
    timings = mobile_tables.timing_table(run)
    return {
        "invalid": _filled(measured.invalid_table(run)),
        "command": shlex.join(run.command),
        "raw": subjects.raw_files(run),
        "rounds": _filled(slo.point_table(run), *rounds, timings),
        "logs": [(name, target.log_file) for name, target in run.targets.items() if target.log_file],
    }


def _environment() -> Environment:
    loader = PackageLoader("pipelines.report")
    # The last look at all that is not markup of ours.
    made = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, finalize=_finalized
    )
    made.lstrip_blocks = True
    made.filters |= {"one_line": fmt.one_line, "breakable": _breakable}
    return made


def _finalized(value: object) -> object:
    return fmt.visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _breakable(text: str) -> Markup:
    """A path or digest that may be broken after a separator or 16 characters; copied, it is unbroken."""
    return Markup("<wbr>").join(re.findall(r"[^/_.-]{1,16}[/_.-]?|[/_.-]", fmt.one_line(text)))


def _filled(*tables: Table) -> list[Table]:
    return [table for table in tables if table.rows]

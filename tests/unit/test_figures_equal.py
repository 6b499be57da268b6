"""Every figure of every report, summary and metric file is run.json's, to the digits that are shown."""

import html
import io
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from report_fixture import make_run
from report_mobile_fixture import make_mobile_run
from report_slo_fixture import make_slo_run
from rich.console import Console
from training_fixture import make_training_run

from pipelines.console import format as fmt
from pipelines.outputs.asked import FORMATS
from pipelines.outputs.markdown import SHOW
from pipelines.outputs.of_run import facts_of_run
from pipelines.record.run import RunRecord
from pipelines.report.html import render_html
from pipelines.report.json import render_json
from pipelines.report.markdown import render_markdown
from pipelines.report.terminal import print_run
from pipelines.run.several import figures_table

RUNS = {"compare": make_run, "slo": make_slo_run, "mobile": make_mobile_run, "train": make_training_run}
NUMBER = r"-?\d[\d\u202f]*(?:\.\d+)?(?:e[-+]?\d+)?"
CELL = re.compile(r'<t[dh][^>]*class="number[^>]*title="([^"]*)"[^>]*>(.*?)</t[dh]>', re.DOTALL)
# What a unit multiplies a shown number with to give the record's: none, per cent, points, kB, MB, GB.
SCALES = (1.0, 1e-2, 1e3, 1e6, 1e9)


@pytest.fixture(params=RUNS)
def run(request: pytest.FixtureRequest) -> RunRecord:
    return RUNS[request.param]()


def numbers_in(value: Any) -> set[float]:
    """Every number of a JSON value."""
    if isinstance(value, dict):
        return set().union(*map(numbers_in, value.values()))
    if isinstance(value, list):
        return set().union(*map(numbers_in, value))
    return {float(value)} if isinstance(value, int | float) and not isinstance(value, bool) else set()


def numbers(text: str) -> list[str]:
    return [found.replace(fmt.THIN, "") for found in re.findall(NUMBER, text)]


def shows(shown: str, exact: float) -> bool:
    """Whether a number as it is shown is `exact`, but for rounding to its digits and its unit."""
    decimals = len(shown.partition("e")[0].partition(".")[2])
    half = 0.5 * 10.0**-decimals if "e" not in shown else 0.0
    return any(
        abs(float(shown) * scale - exact) <= max(half * scale * 1.001, 5.1e-3 * abs(exact))
        for scale in SCALES
    )


def exact_cells(page: str) -> Iterator[tuple[str, list[str], list[float]]]:
    """Of each cell with a figure: its text, its numbers as shown, and with all their digits."""
    for title, inner in CELL.findall(page):
        exact = html.unescape(title)
        if not re.fullmatch(rf"{NUMBER}(?: to {NUMBER})?(?: of 1|[ \u202f]?[A-Za-z/%]+)?", exact):
            continue
        text = html.unescape(re.sub(r"<small>.*?</small>|<sup>.*?</sup>|<svg.*?</svg>|<[^>]+>", "", inner))
        known = re.match(rf"({NUMBER})(?: to ({NUMBER}))?", exact)
        assert known
        wanted = [float(found.replace(fmt.THIN, "")) for found in known.groups() if found]
        yield text, numbers(text.replace(fmt.TO, " "))[: len(wanted)], wanted


def test_every_cell_of_the_page_is_a_rounded_figure_of_the_record(run: RunRecord) -> None:
    recorded = numbers_in(json.loads(render_json(run)))
    count = 0
    for text, shown, wanted in exact_cells(render_html(run)):
        assert len(shown) == len(wanted), text
        for one, exact in zip(shown, wanted, strict=True):
            assert exact in recorded, text
            assert shows(one, exact), (text, exact)
            count += 1
    assert count > 20


def test_the_check_sees_a_wrong_digit() -> None:
    """Or it could not fail."""
    assert shows("1.90", 1.9049)
    assert not shows("1.90", 1.93)
    assert not shows("104", 103.2)
    assert shows("98.61", 0.98611)


def number_of(text: str) -> str:
    """The number of a figure without its unit, which a heading may have."""
    return re.findall(NUMBER, text)[0].rstrip(fmt.THIN)


@pytest.mark.parametrize("name", ["html", "markdown", "terminal"])
def test_every_figure_a_consumer_gets_is_in_the_reports(run: RunRecord, name: str) -> None:
    out = io.StringIO()
    print_run(run, Console(file=out, width=400))
    text = {"html": render_html(run), "markdown": render_markdown(run), "terminal": out.getvalue()}[name]
    text = html.unescape(re.sub(r"<pre.*?</pre>|<svg.*?</svg>|<script.*", "", text, flags=re.DOTALL))
    if name == "terminal":
        text = text.replace(" ", fmt.THIN)
    shown = f" {text} "
    facts = facts_of_run(run)
    assert len(facts.figures) > 5
    lost = [
        (figure.benchmark, figure.measure, SHOW[figure.unit](figure.value))
        for figure in facts.figures
        if not re.search(
            rf"(?<![\d.]){re.escape(number_of(SHOW[figure.unit](figure.value)))}(?![\d.])", shown
        )
    ]
    # A terminal has the median of cold starts, and not every one.
    assert [one for one in lost if (name, one[1]) != ("terminal", "cold start, slowest")] == []


@pytest.mark.parametrize("name", [name for name in FORMATS if name not in ("junit", "markdown")])
def test_every_machine_format_has_the_records_digits(run: RunRecord, name: str) -> None:
    recorded = numbers_in(json.loads(render_json(run)))
    text = FORMATS[name](facts_of_run(run))
    found = {
        float(one) for one in re.findall(r'(?:"(?:value|lower_value|upper_value)": |\} )(-?[\d.e+-]+)', text)
    }
    assert found - {0.0, 1.0} <= recorded


def test_the_summary_and_several_runs_show_the_same_figures(run: RunRecord) -> None:
    facts = facts_of_run(run)
    texts = [row[2].text for row in figures_table([run]).rows]
    assert texts == [SHOW[figure.unit](figure.value) for figure in facts.figures]
    summary = FORMATS["markdown"](facts)
    assert all(f"| {text} |" in summary for text in texts[:12])

"""Every figure of every report, summary and metric file is run.json's, to the digits that are shown.

A number on a page is compared at the precision it is shown with: half a unit of its last digit, and of
numbers from a thousand up of its third. Besides run.json's own figures a sentence may hold what is derived of
them, all of it in `derived`: a ratio's reciprocal and its distance from 1, sums over rounds, and counts.
"""

import csv
import dataclasses
import html
import io
import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from kinds_fixture import RUNS, make_gate, make_history
from rich.console import Console

from pipelines.console import format as fmt
from pipelines.gate import presentation
from pipelines.history.html import render as render_history
from pipelines.outputs.asked import FORMATS
from pipelines.outputs.facts import Facts
from pipelines.outputs.markdown import SHOW
from pipelines.outputs.of_run import facts_of_run
from pipelines.record.run import RunRecord
from pipelines.report.html import render_html
from pipelines.report.json import render_json
from pipelines.report.markdown import render_markdown
from pipelines.report.terminal import print_run
from pipelines.run.several import figures_table

NUMBER = r"-?\d[\d\u202f]*(?:\.\d+)?(?:e[-+]?\d+)?"
CELL = re.compile(r'<t[dh][^>]*class="number[^>]*title="([^"]*)"[^>]*>(.*?)</t[dh]>', re.DOTALL)
BYTES = {"B": 1.0, "kB": 1e3, "MB": 1e6, "GB": 1e9}
SHARE = 1e-2
# A number in a sentence and what follows it; none that is a part of a name, such as of p99 or closed:8.
SAID = re.compile(rf"(?<![\w.:/_-])({NUMBER})(?![\w:/]|[.-]\d)(?:[\u202f ]?(%|kB|MB|GB|B\b|points?))?")
RAW = ("rounds", "ecdf", "conditionings", "slices", "samples", "points", "trainings", "block_peaks", "trials")
DRAWN_ONLY = ("ecdf", "slices", "conditionings", "block_peaks")
# Columns of CSV files that count the rows of what a figure draws, and that no record holds.
COUNTED = {"epoch", "training", "round", "trial"}


@pytest.fixture(params=RUNS)
def run(request: pytest.FixtureRequest) -> RunRecord:
    return made(request.param)


@cache
def made(kind: str) -> RunRecord:
    return RUNS[kind]()


@cache
def page(kind: str) -> str:
    return render_html(made(kind))


def numbers_in(value: Any, without: tuple[str, ...] = ()) -> set[float]:
    """Every number of a JSON value, but for those under some keys; of a list also how many it holds."""
    if isinstance(value, dict):
        return set().union(*(numbers_in(one, without) for key, one in value.items() if key not in without))
    if isinstance(value, list):
        return set().union(*(numbers_in(one, without) for one in value)) | (
            {float(len(value))} if without else set()
        )
    return {float(value)} if isinstance(value, int | float) and not isinstance(value, bool) else set()


def numbers(text: str) -> list[str]:
    return [found.replace(fmt.THIN, "") for found in re.findall(NUMBER, text)]


def precision(shown: str) -> float:
    """Half a unit of the last digit that means something."""
    mantissa, _, exponent = shown.lstrip("-").partition("e")
    whole, _, decimals = mantissa.partition(".")
    step = 10.0 ** -len(decimals) * 10.0 ** int(exponent or 0)
    third = 10 ** (len(whole) - 3)
    if not decimals and len(whole) > 3 and int(whole) % third == 0:
        step = float(third)
    return step / 2


def shows(shown: str, exact: float, scale: float = 1.0, decimals: int | None = None) -> bool:
    """Whether a number as it is shown, in units of `scale`, is `exact` rounded to the digits shown.

    `decimals` is of what leaves out zeros at its end.
    """
    half = precision(shown) if decimals is None else 0.5 * 10.0**-decimals
    # What lies in the middle between two numbers may be rounded to either.
    return abs(float(shown) - exact / scale) <= half * (1 + 1e-9) + 1e-12


def test_the_check_sees_a_wrong_digit() -> None:
    """Or it could not fail."""
    assert shows("1.90", 1.9049)
    assert not shows("1.90", 1.9051)
    assert not shows("1.90", 1.93)
    assert not shows("104", 103.2)
    assert not shows("104.3", 104.7)
    assert shows("1230", 1234.9)
    assert not shows("1234", 1234.6)
    assert shows("98.61", 0.98611, SHARE)
    assert not shows("98.61", 98.61, SHARE)
    assert not shows("98.6", 0.98611, SHARE, 2)
    assert shows("1.2e-07", 1.24e-7)
    assert not shows("1.2e-07", 1.3e-7)


def exact_cells(page: str) -> Iterator[tuple[str, str, list[str], list[float]]]:
    """Of each cell with a figure: its text, its unit, its numbers as shown, and with all their digits."""
    for title, inner in CELL.findall(page):
        exact = html.unescape(title)
        if not re.fullmatch(rf"{NUMBER}(?: to {NUMBER})?(?: of 1|[ \u202f]?[A-Za-z/%]+)?", exact):
            continue
        text = html.unescape(re.sub(r"<small>.*?</small>|<sup>.*?</sup>|<svg.*?</svg>|<[^>]+>", "", inner))
        known = re.match(rf"({NUMBER})(?: to ({NUMBER}))?(.*)", exact)
        assert known
        wanted = [float(found.replace(fmt.THIN, "")) for found in known.groups()[:2] if found]
        yield text.strip(), known[3].strip(), numbers(text.replace(fmt.TO, " "))[: len(wanted)], wanted


def fits(text: str, unit: str, shown: str, exact: float) -> bool:
    """Whether a number of a cell is its figure in the unit that the cell shows."""
    if unit == "bytes":
        own = next((scale for name, scale in BYTES.items() if text.endswith(f"{fmt.THIN}{name}")), 1.0)
        return shows(shown, exact, own)
    if unit == "of 1":
        return shows(shown, exact, SHARE, 2) or ("%" not in text and shows(shown, exact))
    return shows(shown, exact, SHARE if "%" in text else 1.0)


@pytest.mark.slow
@pytest.mark.parametrize("kind", RUNS)
def test_every_cell_of_the_page_is_a_rounded_figure_of_the_record(kind: str) -> None:
    recorded = numbers_in(json.loads(render_json(made(kind))))
    count = 0
    for text, unit, shown, wanted in exact_cells(page(kind)):
        assert len(shown) == len(wanted), text
        for one, exact in zip(shown, wanted, strict=True):
            assert exact in recorded, text
            assert fits(text, unit, one, exact), (text, unit, exact)
            count += 1
    assert count > 20


@pytest.mark.parametrize("kind", RUNS)
def test_every_number_of_a_figures_data_is_the_records_with_all_its_digits(kind: str) -> None:
    recorded = numbers_in(json.loads(render_json(made(kind))))
    files = re.findall(r'<pre hidden class="csv">(.*?)</pre>', page(kind), re.DOTALL)
    assert files
    for text in files:
        rows = list(csv.DictReader(io.StringIO(html.unescape(text))))
        assert rows
        cells = [(name, cell) for row in rows for name, cell in row.items() if name not in COUNTED]
        found = [(name, float(cell)) for name, cell in cells if re.fullmatch(NUMBER, cell)]
        assert found
        assert [one for one in found if one[1] not in recorded] == []


FIGURE = re.compile(r'<figure id="([^"]*)">.*?(<svg viewBox.*?</svg>)\n.*?class="csv">(.*?)</pre>', re.DOTALL)
DRAWN = re.compile(r'<(?:desc|title)[^>]*>(.*?)</(?:desc|title)>|<text[^>]*class="value"[^>]*>(.*?)</text>')


@pytest.mark.parametrize("kind", RUNS)
def test_what_a_figure_says_is_in_its_data_or_the_record(kind: str) -> None:
    """What it is described with, shows on hover or writes beside a mark; ticks of axes are no figures."""
    run, figures = made(kind), FIGURE.findall(page(kind))
    # A hint says also how fast a single round was, and why it is not used.
    told = pool_of(run) | numbers_in(json.loads(render_json(run)), DRAWN_ONLY)
    count = 0
    for name, svg, text in figures:
        rows = list(csv.DictReader(io.StringIO(html.unescape(text))))
        pool = {float(cell) for row in rows for cell in row.values() if re.fullmatch(NUMBER, cell)}
        # How many rounds there are is in no row.
        pool |= told | set(map(float, range(len(rows) + 1)))
        found = [one for parts in DRAWN.findall(svg) for part in parts for one in said(html.unescape(part))]
        assert (name, [one for one in found if not known(pool, *one)]) == (name, [])
        count += len(found)
    assert count


def said(text: str) -> Iterator[tuple[str, str]]:
    """The numbers of sentences, each with its unit."""
    for found in SAID.finditer(text):
        yield found[1].replace(fmt.THIN, ""), found[2] or ""


def known(pool: set[float], shown: str, unit: str) -> bool:
    """Whether some figure is what a sentence says."""
    if unit in ("%", "point", "points"):
        return any(shows(shown, one, SHARE) for one in pool)
    return any(shows(shown, one, BYTES.get(unit, 1.0)) for one in pool)


def pool_of(run: RunRecord) -> set[float]:
    """What sentences may say: figures of the record but for raw ones, and what is derived of them."""
    return (
        numbers_in(json.loads(render_json(run)), RAW)
        | set(map(float, derived(run)))
        | set(map(float, confirmed(run)))
        | {0.95}
    )


def derived(run: RunRecord) -> Iterator[float]:
    """What is derived of ratios, of each side's rounds and of artifacts for devices."""
    for figure in facts_of_run(run).figures:
        for end in (figure.value, *(figure.ends or ())) if figure.unit == "ratio" else ():
            yield from (1 / end, abs(end - 1))
    for target in run.targets.values():
        yield len({one.block for one in target.rounds if one.valid})
        for name in ("wrong_count", "checked_count", "errors_count", "requests_count"):
            yield sum(getattr(one, name) for one in target.rounds)
    if run.mobile:
        yield sum(one.passed for one in run.mobile.artifacts)


def confirmed(run: RunRecord) -> Iterator[int]:
    """Sum the requests of the rounds that confirmed each search's rate."""
    for name, searched in run.slo.targets.items() if run.slo else ():
        rounds = {one.index: one for one in run.targets[name].rounds}
        rates = {block.block: block.rate_per_s for block in searched.blocks}
        sums: dict[int, int] = {}
        for point in searched.points:
            if point.phase == "confirm" and point.met and rates.get(point.block) == point.rate_per_s:
                sums[point.block] = sums.get(point.block, 0) + rounds[point.round_index].requests_count
        yield from sums.values()


def sentences_of(kind: str) -> dict[str, str]:
    """The first paragraphs of the page, the summary's result, and everything in a file of JUnit, by place."""
    run = made(kind)
    paragraphs = re.findall(r'<p class="(?:answer|headline|limits)[^"]*">(.*?)</p>', page(kind), re.DOTALL)
    facts = facts_of_run(run)
    return {
        "page": " ".join(html.unescape(re.sub(r"<[^>]+>", "", one)) for one in paragraphs),
        "headline": facts.headline,
        "junit": junit_text(facts),
    }


def junit_text(facts: Facts) -> str:
    """What the cases of a file of JUnit say of what was found."""
    cases = ET.fromstring(FORMATS["junit"](facts)).iter("testcase")  # noqa: S314 - our own
    return "\n".join(one.get("message") or one.text or "" for case in cases for one in case)


@pytest.mark.parametrize("place", ["page", "headline", "junit"])
@pytest.mark.parametrize("kind", RUNS)
def test_every_number_of_a_sentence_is_of_the_record(kind: str, place: str) -> None:
    pool, text = pool_of(made(kind)), sentences_of(kind)[place]
    found = list(said(text))
    assert found or (kind, place) == ("train", "junit"), "whose verdicts are words"
    assert [one for one in found if not known(pool, *one)] == []


@pytest.mark.parametrize("kind", RUNS)
def test_the_check_of_sentences_sees_most_wrong_digits(kind: str) -> None:
    """Or it could not fail: a figure of three digits with another last one is hardly ever a figure too."""
    pool = pool_of(made(kind))
    figures = [one for one in said(sentences_of(kind)["page"]) if len(one[0].replace(".", "")) > 2]
    wrong = [
        (f"{shown[:-1]}{(int(shown[-1]) + by) % 10}", unit) for shown, unit in figures for by in (3, 5, 7)
    ]
    assert sum(not known(pool, *one) for one in wrong) > 0.6 * len(wrong)


def number_of(text: str) -> str:
    """The number of a figure without its unit, which a heading may have."""
    return re.findall(NUMBER, text)[0].rstrip(fmt.THIN)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["html", "markdown", "terminal"])
def test_every_figure_a_consumer_gets_is_in_the_reports(run: RunRecord, name: str) -> None:
    out = io.StringIO()
    print_run(run, Console(file=out, width=400))
    text = {"html": page(run.kind), "markdown": render_markdown(run), "terminal": out.getvalue()}[name]
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


@pytest.mark.parametrize("kind", RUNS)
def test_tables_of_the_other_report_are_the_pages(kind: str) -> None:
    """So that what is compared with the record above is what they show."""
    cells = re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", page(kind), re.DOTALL)
    shown = {html.unescape(re.sub(r"<[^>]+>|&nbsp;", "", one)).strip() for one in cells}
    numeric = {
        cell.strip()
        for line in render_markdown(made(kind)).split("\n")
        if line.startswith("|") and ":---" not in line
        for cell in line.strip("|").split(" | ")
        if re.fullmatch(rf"{NUMBER}(?:\u202f[a-zA-Z/%]+)?", cell.strip())
    }
    assert len(numeric) > 10
    assert numeric - shown == set()


MACHINE = [name for name in FORMATS if name not in ("junit", "markdown")]


def machine_numbers(name: str, facts: Facts) -> set[float]:
    """Every number of a metric file, read as its consumers do."""
    text = FORMATS[name](facts)
    if name == "openmetrics":
        lines = [line for line in text.split("\n") if line and not line.startswith(("#", "tandem_passed"))]
        return {float(line.rsplit(" ", 1)[1]) for line in lines}
    value = json.loads(text)
    ranges = {
        float(end)
        for one in value
        if isinstance(one, dict)
        for end in one.get("range", "").split(" to ")
        if end
    }
    return numbers_in(value) | ranges


@pytest.mark.parametrize("name", MACHINE)
def test_every_machine_format_has_the_records_digits(run: RunRecord, name: str) -> None:
    found = machine_numbers(name, facts_of_run(run))
    assert found <= numbers_in(json.loads(render_json(run)))
    assert found


def test_the_summary_and_several_runs_show_the_same_figures(run: RunRecord) -> None:
    facts = facts_of_run(run)
    again = run.model_copy(update={"run_id": f"{run.run_id}-2"})
    wanted = [SHOW[figure.unit](figure.value) for figure in facts.figures]
    for row, text in zip(figures_table([run, again, run]).rows, wanted, strict=True):
        assert [cell.text for cell in row[2:]] == [text] * 3
    summary = FORMATS["markdown"](facts)
    assert all(f"| {text} |" in summary for text in wanted[:12])


@pytest.fixture(scope="module", params=[1.3, 1.0], ids=["fails", "passes"])
def gated(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return make_gate(tmp_path_factory.mktemp("gate"), slower=request.param)


def test_every_number_that_the_gate_says_is_one_of_its_findings(gated: Any) -> None:
    findings = json.loads(json.dumps(presentation.facts(gated), default=dataclasses.asdict))
    pool = numbers_in(findings, ("said",))
    facts = presentation.outputs_facts(gated, passed=gated.word == "pass")
    for text in (facts.headline, junit_text(facts), presentation.verdict(gated)):
        found = list(said(re.sub(r"all \d+ findings|\(\d+ passed", "", text)))
        assert [one for one in found if not known(pool, *one)] == []
    for name in MACHINE:
        assert machine_numbers(name, facts) <= pool
    summary = FORMATS["markdown"](facts)
    assert all(f"| {SHOW[one.unit](one.value)} |" in summary for one in facts.figures)


@pytest.mark.slow
def test_every_figure_of_a_history_is_that_of_its_run(tmp_path: Path) -> None:
    past = make_history(tmp_path, runs_count=4)
    sections = re.findall(r"<section>(.*?)</section>", render_history(past), re.DOTALL)
    for series, section in zip(past.series, sections, strict=False):
        rows = re.findall(r"<tr><td>(.*?)</td><td>(.*?)</td><td>(.*?)</td></tr>", section)
        assert len(rows) == len(series.points)
        for (name, value, ends), point in zip(rows, series.points, strict=True):
            run = json.loads((tmp_path / name / "run.json").read_text())
            exact = (point.figure.value, *(point.figure.ends or ()))
            assert set(exact) <= numbers_in(run)
            shown = numbers(f"{value} {ends}")
            assert len(shown) == len(exact)
            units = [re.sub(r"^.*\u202f", "", one) for one in (value, *ends.split(" to "))]
            scales = [BYTES.get(unit, SHARE if unit == "%" else 1.0) for unit in units]
            assert all(map(shows, shown, exact, scales)), (name, value, ends)

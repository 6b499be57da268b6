"""The report in a real browser: no errors, nothing fetched or clipped, axe-core finds nothing."""

import xml.etree.ElementTree as ET
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest
from chromium import Page, open_browser
from report_fixture import make_run
from report_mobile_fixture import make_mobile_run
from report_slo_fixture import make_slo_run
from report_warming_fixture import conditioning, run_with
from training_fixture import make_training_run

from pipelines.console import format as fmt
from pipelines.report import pick
from pipelines.report.html import render_html
from pipelines.run.several import Several, render_several

pytestmark = pytest.mark.slow
WIDTHS = (400, 900, 1600)
PAGES = {
    "compare": lambda: render_html(run_with(conditioning(0), conditioning(1, until=0.0))),
    "slo": lambda: render_html(make_slo_run()),
    "mobile": lambda: render_html(make_mobile_run()),
    "train": lambda: render_html(make_training_run()),
    "several": lambda: render_several(
        Several((Path("runs/a"), Path("runs/b")), (make_run(), make_slo_run()))
    ),
}
CLIPPED = """(() => {
  const found = [];
  const wide = document.documentElement.scrollWidth;
  if (wide > innerWidth) found.push(`page is ${wide} wide`);
  for (const svg of document.querySelectorAll("svg")) {
    const whole = svg.getBoundingClientRect();
    for (const text of svg.querySelectorAll("text")) {
      const box = text.getBoundingClientRect();
      const across = box.left < whole.left - 1 || box.right > whole.right + 1;
      if (across || box.top < whole.top - 1 || box.bottom > whole.bottom + 1)
        found.push(`${svg.querySelector("title")?.textContent}: ${text.textContent}`);
    }
  }
  for (const one of document.querySelectorAll("main *:not(svg *)")) {
    if (["hidden", "clip"].includes(getComputedStyle(one).overflowX) && one.scrollWidth > one.clientWidth + 1)
      found.push(`${one.tagName} ${one.textContent.slice(0, 40)}`);
  }
  return found;
})()"""
AXE = """axe.run(document, {resultTypes: ["violations"]}).then((found) => found.violations.map((one) =>
  `${one.impact} ${one.id}: ${one.nodes.slice(0, 3).map((node) => node.html.slice(0, 160)).join(" | ")}`))"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with open_browser(tmp_path_factory.mktemp("chromium")) as page:
        yield page


@pytest.fixture(scope="module", params=PAGES)
def file(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / f"{request.param}.html"
    path.write_text(PAGES[request.param](), encoding="utf-8")
    return path


@pytest.fixture
def compared(browser: Page, tmp_path: Path) -> Page:
    (tmp_path / "compare.html").write_text(render_html(make_run()), encoding="utf-8")
    browser.open(tmp_path / "compare.html")
    return browser


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_is_clipped_fetched_or_complained_of(browser: Page, file: Path, width: int) -> None:
    browser.errors.clear()
    browser.asked_for.clear()
    browser.open(file, width=width)
    assert browser.ask(CLIPPED) == []
    assert browser.errors == []
    assert browser.asked_for == [file.resolve().as_uri()]


def test_the_check_sees_a_clipped_label_and_an_error(browser: Page, tmp_path: Path) -> None:
    """Or it could not fail."""
    bad = tmp_path / "bad.html"
    bad.write_text(
        "<main><svg viewBox='0 0 10 10' width=100><title>t</title><text x=9 y=5>much too long</text></svg>"
        "<script>nothing.here()</script>"
    )
    browser.errors.clear()
    browser.open(bad, width=400)
    assert browser.ask(CLIPPED) == ["t: much too long"]
    assert len(browser.errors) == 1
    browser.errors.clear()


@pytest.mark.parametrize("dark", [False, True])
def test_axe_core_finds_nothing(browser: Page, file: Path, dark: bool) -> None:
    browser.open(file, dark=dark)
    browser.ask(files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8"))
    assert browser.ask(AXE) == []


CELLS = """[...document.querySelector('table[data-name^="every-round"]').tBodies[0].rows]
  .map((row) => row.cells[8].title)"""
HEAD = """document.querySelector('table[data-name^="every-round"]').tHead.rows[0].cells[8]"""


def test_tables_sort_by_every_digit_and_back(compared: Page) -> None:
    before = compared.ask(CELLS)
    numbers = [float(text.split()[0]) for text in before]
    for state, wanted in (("ascending", sorted(numbers)), ("descending", sorted(numbers, reverse=True))):
        compared.ask(f"{HEAD}.querySelector('button').click()")
        assert compared.ask(f"{HEAD}.getAttribute('aria-sort')") == state
        assert [float(text.split()[0]) for text in compared.ask(CELLS)] == wanted
    compared.ask(f"{HEAD}.querySelector('button').click()")
    assert compared.ask(f"{HEAD}.hasAttribute('aria-sort')") is False
    assert compared.ask(CELLS) == before


def test_every_figure_can_be_taken_along(compared: Page) -> None:
    taken = compared.ask(
        "[...document.querySelectorAll('figure[id]')].map((one) => "
        "[alone(one.querySelector(':scope > svg')), one.querySelector('.csv').textContent, "
        "one.querySelectorAll('.tools button').length])"
    )
    assert len(taken) == 10
    for svg, csv, buttons in taken:
        root = ET.fromstring(svg)  # noqa: S314 - our own
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert "var(--" not in svg
        assert csv.count("\n") > 1
        assert buttons == 4


def test_a_table_is_copied_with_every_digit(compared: Page) -> None:
    text = compared.ask("tableCsv(document.querySelector('table[data-name^=\"latency-and-throughput\"]'))")
    exact = pick.summary_of(make_run().targets["torchserve"], "closed:1").latency_ms.p99
    assert f"{exact} ms" in text
    assert fmt.THIN not in text.split("\n")[1].split(",")[3]


def test_sections_are_linked_and_keys_reach_everything(compared: Page) -> None:
    links = compared.ask("[...document.querySelectorAll('nav a')].map((one) => one.hash)")
    assert "#the-answer" in links
    assert compared.ask(
        "[...document.querySelectorAll('a[href^=\"#\"]')].every((one) => document.querySelector(one.hash))"
    )
    assert compared.ask(
        "[...document.querySelectorAll('button, a, [tabindex]')].every((one) => one.tabIndex >= 0)"
    )


def test_it_prints_without_its_buttons(compared: Page) -> None:
    compared.send("Emulation.setEmulatedMedia", media="print")
    try:
        shown = (
            "[...document.querySelectorAll('.tools, nav, .anchor')].filter((one) => one.offsetParent).length"
        )
        assert compared.ask(shown) == 0
    finally:
        compared.send("Emulation.setEmulatedMedia", media="")

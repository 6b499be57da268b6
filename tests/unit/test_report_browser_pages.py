"""Pages of every kind in a real browser: nothing clipped at any width, axe-core finds nothing, keys work."""

import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from functools import cache
from importlib.resources import files
from pathlib import Path

import pytest
from chromium import Page, open_browser
from kinds_fixture import (
    FIVE,
    LONG,
    make_five_sides,
    make_history,
    make_long_names,
    make_long_run,
    make_tune_run,
)
from report_fixture import make_run
from report_mobile_fixture import make_mobile_run
from report_slo_fixture import make_slo_run
from test_report_browser import AXE, CLIPPED, WIDTHS
from training_fixture import make_training_run

from pipelines.history.html import render as render_history
from pipelines.record.run import RunRecord
from pipelines.report.html import LIMIT_BYTES, render_html
from pipelines.run.several import Several, render_several

pytestmark = pytest.mark.slow
PAGES: dict[str, Callable[[Path], str]] = {
    "history": lambda folder: render_history(make_history(folder)),
    "tune": lambda _: report("tune"),
    "five-sides": lambda _: report("five-sides"),
    "long-names": lambda _: report("long-names"),
    "long-run": lambda _: report("long-run"),
    "several-long": lambda _: render_several(
        Several(
            (Path("runs/a"), Path("runs/b"), Path("runs/c")), (make_long_names(), make_tune_run(), make_run())
        )
    ),
}
MAKERS: dict[str, Callable[[], RunRecord]] = {
    "compare": make_run,
    "mobile": make_mobile_run,
    "slo": make_slo_run,
    "train": make_training_run,
    "tune": make_tune_run,
    "five-sides": make_five_sides,
    "long-names": make_long_names,
    "long-run": make_long_run,
}
COPIED = ("mobile", "slo", "train", "tune")


@cache
def report(kind: str) -> str:
    return render_html(MAKERS[kind]())


# What axe-core looks at, which takes seconds for a whole page: what other pages do not have.
AXED = {
    "history": "document",
    "tune": "{include: [['#figure-surface-1'], ['.answer'], ['table[data-name*=tried]'], ['header']]}",
    "five-sides": "{include: [['#figure-forest1'], ['#figure-load-curve'], ['.legend']]}",
    "several-long": "document",
}
# What has the focus: a link's place, a button's name, or where a table can be moved.
FOCUSED = """(() => {
  const one = document.activeElement;
  if (one === document.body) return null;
  return [one.tagName, one.getAttribute("aria-label") ?? one.textContent.trim(), one.getAttribute("href")];
})()"""
OUTLINED = """(() => {
  const looks = getComputedStyle(document.activeElement);
  return document.activeElement.matches(":focus-visible") && looks.outlineStyle !== "none";
})()"""
REACHABLE = """[...document.querySelectorAll("a[href], button, [tabindex], summary")]
  .filter((one) => one.checkVisibility()).length"""
# What was written to the clipboard, which a page in a headless browser may not read.
LISTEN = """(() => {
  window.taken = [];
  const writeText = async (text) => { window.taken.push(text); };
  Object.defineProperty(navigator, "clipboard", {value: {writeText}});
})()"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with open_browser(tmp_path_factory.mktemp("chromium")) as page:
        yield page


@pytest.fixture(scope="module", params=PAGES)
def opened(request: pytest.FixtureRequest, browser: Page, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of a kind, open."""
    folder = tmp_path_factory.mktemp("page")
    path = folder / f"{request.param}.html"
    path.write_text(PAGES[request.param](folder / "runs"), encoding="utf-8")
    browser.errors.clear()
    browser.asked_for.clear()
    browser.open(path, width=WIDTHS[0])
    return path


@pytest.fixture
def compared(browser: Page, tmp_path: Path) -> Page:
    return open_text(browser, tmp_path, report("compare"))


def open_text(browser: Page, folder: Path, text: str) -> Page:
    (folder / "page.html").write_text(text, encoding="utf-8")
    browser.open(folder / "page.html")
    return browser


def test_nothing_is_clipped_fetched_or_complained_of_at_any_width(browser: Page, opened: Path) -> None:
    clipped = {}
    for width in WIDTHS:
        browser.resize(width)
        clipped[width] = browser.ask(CLIPPED)
    assert clipped == {width: [] for width in WIDTHS}
    assert browser.errors == []
    assert browser.asked_for == [opened.resolve().as_uri()]
    assert opened.stat().st_size <= LIMIT_BYTES


@pytest.mark.parametrize("opened", AXED, indirect=True)
@pytest.mark.parametrize("dark", [False, True])
def test_axe_core_finds_nothing(browser: Page, opened: Path, dark: bool) -> None:
    script = files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
    browser.ask(f"if (!window.axe) {{{script}}}")
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    browser.send("Emulation.setEmulatedMedia", features=[scheme])
    assert browser.ask(AXE.replace("document,", f"{AXED[opened.stem]},")) == []


def test_the_tab_key_goes_through_everything_and_shows_where_it_is(browser: Page, opened: Path) -> None:
    assert opened.exists()
    browser.ask("document.activeElement.blur(); scrollTo(0, 0)")
    count = browser.ask(REACHABLE)
    seen = []
    for _ in range(min(count, 40)):
        browser.press("Tab")
        seen.append(browser.ask(FOCUSED))
        assert browser.ask(OUTLINED), f"nothing shows that {seen[-1]} has the focus"
    assert len(seen) > 5
    assert None not in seen
    assert all(name for _, name, _ in seen), "each has a name that a screen reader says"


def test_the_pages_are_what_they_are_called(tmp_path: Path) -> None:
    """Or they would be looked at for nothing."""
    tune, five, names = map(report, ("tune", "five-sides", "long-names"))
    assert 'id="figure-surface-1"' in tune
    assert all(name in five for name in FIVE)
    assert LONG in names
    assert 'class="moved"' in render_history(make_history(tmp_path))
    assert sum(len(target.rounds) for target in make_long_run().targets.values()) > 900


def test_keys_skip_to_the_answer_and_follow_links(compared: Page) -> None:
    compared.press("Tab")
    assert compared.ask(FOCUSED) == ["A", "To the answer", "#main"]
    compared.press("Enter")
    assert compared.ask("location.hash") == "#main"
    compared.press("Tab")
    assert compared.ask("document.getElementById('main').contains(document.activeElement)"), "past the links"
    compared.ask("document.querySelector('nav a[href$=rounds], nav a:last-of-type').focus()")
    wanted = compared.ask("document.activeElement.hash")
    compared.press("Enter")
    assert compared.ask("location.hash") == wanted


def test_keys_sort_a_table(compared: Page) -> None:
    table = "document.querySelector('table[data-name^=\"every-round\"]')"
    column = f"[...{table}.tBodies[0].rows].map((row) => parseFloat(row.cells[8].title))"
    compared.ask(f"{table}.tHead.rows[0].cells[8].querySelector('button').focus()")
    before = compared.ask(column)
    compared.press("Enter")
    assert compared.ask(column) == sorted(before)
    compared.press("Enter")
    assert compared.ask(column) == sorted(before, reverse=True)
    compared.press("Enter")
    assert compared.ask(column) == before


def test_arrow_keys_move_a_wide_table(compared: Page) -> None:
    compared.resize(400)
    wide = "[...document.querySelectorAll('.scroll')].find((one) => one.scrollWidth > one.clientWidth + 40)"
    compared.ask(f"{wide}.focus()")
    for _ in range(3):
        compared.press("ArrowRight")
    compared.ask("new Promise((done) => setTimeout(() => done(1), 300))")
    assert compared.ask("document.activeElement.scrollLeft") > 0


@pytest.mark.parametrize("kind", COPIED)
def test_figures_of_every_kind_are_copied_by_keys(browser: Page, tmp_path: Path, kind: str) -> None:
    page = open_text(browser, tmp_path, report(kind))
    page.ask(LISTEN)
    figures = page.ask("[...document.querySelectorAll('figure[id]')].map((one) => one.id)")
    assert figures
    for name in figures:
        for what in ("Copy SVG", "Copy CSV"):
            page.ask(f"document.querySelector('#{name} button[aria-label^=\"{what}\"]').focus()")
            page.press("Enter")
        page.ask("new Promise((done) => setTimeout(() => done(1), 0))")
        svg, csv = page.ask("taken.splice(0)")
        root = ET.fromstring(svg)  # noqa: S314 - our own
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert "var(--" not in svg
        columns = {line.count(",") for line in csv.strip().split("\n") if '"' not in line}
        assert len(csv.strip().split("\n")) > 1
        assert len(columns) == 1

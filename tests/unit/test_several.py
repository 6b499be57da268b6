"""`tandem report RUN RUN…`: one page for several runs of one model; `--open` opens what was written."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from report_fixture import make_run
from report_mobile_fixture import make_mobile_run
from report_parts import ENVIRONMENT, MODEL
from report_slo_fixture import make_slo_run

from pipelines.cli import main as cli
from pipelines.console import format as fmt
from pipelines.outputs.of_run import figures_of_run
from pipelines.record.run import RunRecord
from pipelines.report.json import write_run
from pipelines.run import several as several_runs
from pipelines.run.several import Several, differences_table, figures_table, read_several, render_several

OTHER = ENVIRONMENT.model_copy(
    update={"cpu_model": "Another CPU", "versions": ENVIRONMENT.versions | {"torch": "2.14.0"}}
)
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def written(name: str, run: RunRecord | None = None, **changes: Any) -> Path:
        made = (run or make_run()).model_copy(update={"run_id": name} | changes)
        write_run(made, tmp_path / name)
        return tmp_path / name

    return written


@pytest.fixture
def two(write: Write) -> list[Path]:
    later = write("later", started_at_utc="2026-11-21T00:00:00Z", environment=OTHER)
    return [later, write("earlier")]


def test_the_oldest_is_first_and_the_page_beside_the_newest(two: list[Path]) -> None:
    found = read_several(two)
    assert [run.run_id for run in found.runs] == ["earlier", "later"]
    assert found.page == two[0].parent / "report-digits_cnn.html"


def test_every_figure_of_every_run_is_on_the_page(write: Write) -> None:
    runs = [make_run(), make_slo_run(), make_mobile_run()]
    table = figures_table(runs)
    for column, run in enumerate(runs, start=2):
        shown = [row[column] for row in table.rows if row[column].why is None]
        exact = [float(str(cell.exact).split()[0]) for cell in shown]
        assert sorted(exact) == sorted(figure.value for figure in figures_of_run(run))
        assert sum(cell.beside is not None for cell in shown) == sum(
            figure.low is not None for figure in figures_of_run(run)
        )
    assert any(row[3].why for row in table.rows)


def test_what_was_not_alike_is_named_and_nothing_else(two: list[Path]) -> None:
    found = read_several(two)
    rows = [[cell.text for cell in row] for row in differences_table(found.runs).rows]
    assert rows == [["cpu_model", "AMD EPYC 7B13", "Another CPU"], ["version of torch", "2.13.0", "2.14.0"]]
    assert "their environments differ in 2 fields" in render_several(found)
    alike = read_several([two[1]])
    assert "their environments are alike" in render_several(alike)


def test_the_page_links_to_each_runs_own_and_fetches_nothing(two: list[Path]) -> None:
    page = render_several(read_several(two))
    links = re.findall(r'href="([^#"][^"]*)"', page)
    assert links == ["earlier/report.html", "later/report.html"]
    assert not re.search(r"(src|srcset)=|url\(|@import", page)


def test_the_command_writes_the_page_and_prints_its_path(
    two: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli._run(["report", *map(str, two)]) == 0
    out = capsys.readouterr().out
    page = two[0].parent / "report-digits_cnn.html"
    assert page.read_text().startswith("<!doctype html>")
    assert str(page) in re.sub(r"\n", "", out)
    assert "In what the environments differ" in out


def test_json_is_the_records(two: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli._run(["report", "--json", *map(str, two)]) == 0
    assert [one["run_id"] for one in json.loads(capsys.readouterr().out)] == ["earlier", "later"]


def test_runs_of_different_models_are_refused_in_one_line(
    write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    other = MODEL.model_copy(update={"name": "other", "digest": "sha256:other"})
    folders = [write("a"), write("b", model=other)]
    assert cli._run(["report", *map(str, folders)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "different models" in line
    assert "digits_cnn" in line
    assert "other" in line
    assert not list(folders[0].parent.glob("*.html"))


def test_a_run_given_twice_or_none_at_all_is_refused(
    write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = str(write("a"))
    assert cli._run(["report", run, f"{run}/../a"]) == 2
    assert "given twice" in capsys.readouterr().err
    assert cli._run(["report", run, str(tmp_path / "none")]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_names_are_text_on_the_page_and_no_path(write: Write) -> None:
    hostile = MODEL.model_copy(update={"name": "../<script>x"})
    folders = [write("a", model=hostile), write("b", model=hostile)]
    found = read_several(folders)
    assert found.page.parent == folders[0].parent
    assert "<script>x" not in render_several(found)


@pytest.mark.parametrize("opened", [True, False])
def test_open_opens_the_page_or_says_that_nobody_can(
    two: list[Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], opened: bool
) -> None:
    asked: list[str] = []
    monkeypatch.setattr("webbrowser.open", lambda address: asked.append(address) or opened)
    assert cli._run(["report", "--open", *map(str, two)]) == 0
    assert asked == [(two[0].parent / "report-digits_cnn.html").resolve().as_uri()]
    assert ("no browser could be started" in capsys.readouterr().err) is not opened


def test_of_more_runs_than_fit_the_newest_stay_with_a_remark_of_their_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(several_runs, "TABLE_BYTES", 8_000)
    runs = tuple(make_run(run_id=f"run-{number}") for number in range(20))
    page = render_several(Several(tuple(Path(f"runs/{run.run_id}") for run in runs), runs))
    table, after = page.partition("<table")[2].split("</table>", 1)
    shown = re.findall(r"run-\d+", table)
    assert 1 < len(shown) < len(runs)
    assert shown == [run.run_id for run in runs[-len(shown) :]]
    assert f"The newest {len(shown)} of 20 rows." in page
    assert "The first" not in after.partition("<h2")[0]


def test_a_missing_figure_is_a_dash_with_its_reason() -> None:
    table = figures_table([make_run(), make_slo_run()])
    texts = {cell.text for row in table.rows for cell in row[2:] if cell.why}
    assert texts == {fmt.MISSING}

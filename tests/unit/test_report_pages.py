"""The HTML page, the Markdown page and the terminal say what the record says, and nothing else."""

import html
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from report_fixture import make_run
from report_parts import LOADS, comparison, no_latency
from rich.console import Console

from pipelines.console import format as fmt
from pipelines.record.reading import read_run
from pipelines.record.reason import reason
from pipelines.record.run import RunRecord
from pipelines.report import html as report_html
from pipelines.report import pick, write_report
from pipelines.report.html import render_html
from pipelines.report.json import render_json
from pipelines.report.markdown import render_markdown
from pipelines.report.measured import PERCENTILES
from pipelines.report.subjects import method_table
from pipelines.report.terminal import print_run

HOSTILE = '<script>alert("x")</script>|`*_[a](http://evil.example)_*`\n\x1b[31m"\'&amp;'
RUN = make_run()


def terminal(run: RunRecord, width: int = 80) -> str:
    out = io.StringIO()
    print_run(run, Console(file=out, width=width))
    return out.getvalue()


RENDERERS = [render_html, render_markdown, terminal]


class Page(HTMLParser):
    """Tables by caption, as lists of rows of cell texts; every tag's attributes; the text outside tags."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables: dict[str, list[list[str]]] = {}
        self.attributes: list[tuple[str, str, str]] = []
        self.tags: list[str] = []
        self._rows: list[list[str]] = []
        self._in_cell = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag == "div" and ("class", "scroll") in attrs:
            self._rows = self.tables.setdefault(dict(attrs)["aria-label"] or "", [])
        if tag == "tr":
            self._rows.append([])
        if tag in ("td", "th"):
            self._rows[-1].append("")
            self._in_cell = True

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self._in_cell = False

    def handle_data(self, data: str) -> None:
        if self._in_cell:
            self._rows[-1][-1] += data


def markdown_table(text: str, caption: str) -> list[list[str]]:
    after = text.split(f" {caption}\n\n", 1)[1].split("\n\n", 1)[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in after.splitlines()]


def as_number(cell: str) -> float:
    """The figure of a cell, without the interval that stands beside it in parentheses."""
    return float(cell.partition("(")[0].strip().replace(fmt.THIN, ""))


def expected(load: str) -> dict[str, list[float]]:
    found = {name: pick.summary_of(target, load) for name, target in pick.shown(RUN).items()}
    return {
        pick.label(RUN, name): [
            one.requests_count,
            one.errors_count,
            *(getattr(one.latency_ms, which) for which in PERCENTILES),
            one.throughput_per_s,
        ]
        for name, one in found.items()
        if one
    }


@pytest.mark.slow
@pytest.mark.parametrize("load", LOADS)
def test_latencies_read_back_from_the_pages_are_the_records(load: str) -> None:
    caption = f"Latency and throughput under {load}"
    pages = (Page(render_html(RUN)).tables[caption][1:], markdown_table(render_markdown(RUN), caption)[2:])
    for rows in pages:
        read = {row[0].strip(): [as_number(cell) for cell in row[1:9]] for row in rows}
        assert read.keys() == expected(load).keys()
        for name, figures in expected(load).items():
            assert read[name] == pytest.approx(figures, rel=5e-3), name


@pytest.mark.slow
@pytest.mark.parametrize("load", LOADS)
def test_a_percentiles_interval_stands_beside_it(load: str) -> None:
    caption = f"Latency and throughput under {load}"
    pages = (Page(render_html(RUN)).tables[caption][1:], markdown_table(render_markdown(RUN), caption)[2:])
    for which, place in (("p50", 3), ("p95", 5), ("p99", 6)):
        spans = [
            fmt.span(found, fmt.significant)
            for target in pick.shown(RUN).values()
            if (one := pick.summary_of(target, load)) and (found := one.latency_ms.intervals[which])
        ]
        for rows in pages:
            assert [row[place].partition("(")[2].strip(" )") for row in rows] == spans
        for width in (80, 140):
            assert all(span in terminal(RUN, width) for span in spans)


def test_a_percentile_without_an_interval_stands_alone() -> None:
    """Of a record that is older than intervals."""
    summaries = tuple(
        one.model_copy(update={"latency_ms": one.latency_ms.model_copy(update={"intervals": {}})})
        for one in RUN.targets["torchserve"].summaries
    )
    target = RUN.targets["torchserve"].model_copy(update={"summaries": summaries})
    page = Page(render_html(make_run(targets={"torchserve": target})))
    rows = page.tables[f"Latency and throughput under {LOADS[0]}"]
    assert not any("(" in cell for cell in rows[1][1:])


def test_hovering_shows_every_digit() -> None:
    exact = RUN.targets["torchserve"].summaries[0].latency_ms.p99
    assert f'title="{exact} ms"' in render_html(RUN)
    assert f'title="{fmt.exact_bytes(104_441)}"' in render_html(RUN)


@pytest.mark.slow
def test_null_is_a_dash_with_its_reason_and_never_zero() -> None:
    reason = "12 requests are too few for p99: 662 are needed"
    target = RUN.targets["torchserve"]
    summary = target.summaries[0].model_copy(
        update={"latency_ms": no_latency(reason), "throughput_per_s": None}
    )
    changed = target.model_copy(update={"summaries": (summary,)})
    run = make_run(targets=RUN.targets | {"torchserve": changed})
    caption = f"Latency and throughput under {summary.load}"
    row = Page(render_html(run)).tables[caption][1]
    assert row[3:9] == [f"{fmt.MISSING}1"] * 5 + [f"{fmt.MISSING}2"]
    assert markdown_table(render_markdown(run), caption)[2][3] == f"{fmt.MISSING} [1]"
    for render in RENDERERS:
        assert reason in render(run)


@pytest.mark.parametrize("render", RENDERERS)
def test_invalid_rounds_and_stand_ins_are_visible(render) -> None:
    text = html.unescape(render(RUN))
    assert "31% of the cores that serve or generate was used by other programs" in re.sub(r"\s+", " ", text)
    assert "(fallback)" in text
    assert "not by TensorFlow Serving's own server" in re.sub(r"\s+", " ", text)


@pytest.mark.parametrize("render", RENDERERS)
def test_interrupted_run_with_nothing_measured(render) -> None:
    bare = {
        name: target.model_copy(
            update={"rounds": (), "summaries": (), "cold_starts": (), "endpoint_parity": None}
        )
        for name, target in RUN.targets.items()
    }
    run = make_run(
        targets=bare, comparisons=(), warnings=(), status="interrupted", status_reason=None, ended_at_utc=None
    )
    assert "This run was interrupted. It holds only what was measured before that." in render(run)


@pytest.mark.parametrize("render", RENDERERS)
def test_no_targets_at_all(render) -> None:
    run = make_run(targets={}, artifacts=(), comparisons=(), status="failed", status_reason="no Java runtime")
    assert "failed: no Java runtime" in render(run)


@pytest.mark.parametrize("render", RENDERERS)
def test_a_single_target(render) -> None:
    text = render(make_run(targets={"torchserve": RUN.targets["torchserve"]}, comparisons=()))
    assert "torchserve" in text
    assert "null" not in re.sub(r"<script>.*?</script>", "", text, flags=re.DOTALL)


def test_in_process_targets_never_stand_beside_network_latencies() -> None:
    tables = Page(render_html(RUN)).tables
    with_tflite = {caption for caption, rows in tables.items() if any("tflite" in row[0] for row in rows)}
    assert with_tflite == {"Artifacts", "Parity"}


def hostile_run() -> RunRecord:
    renamed = {"torchserve": HOSTILE, "tfserving": "tfserving"}
    targets = {
        renamed[name]: RUN.targets[name].model_copy(
            update={
                "rounds": tuple(
                    one.model_copy(update={"target": renamed[name]}) for one in RUN.targets[name].rounds
                ),
                "implementation": RUN.targets[name].implementation.model_copy(update={"name": HOSTILE}),
            }
        )
        for name in renamed
    }
    return make_run(
        targets=targets,
        model=RUN.model.model_copy(update={"name": HOSTILE}),
        comparisons=tuple(
            one.model_copy(update={"candidate": HOSTILE, "load": HOSTILE}) for one in RUN.comparisons
        ),
        warnings=(reason("text", text=HOSTILE, remedy=HOSTILE),),
        payload=RUN.payload.model_copy(update={"body_example": HOSTILE}),
        command=("tandem", HOSTILE),
        run_id=HOSTILE,
    )


def test_hostile_names_stay_text_in_html() -> None:
    page = Page(render_html(hostile_run()))
    assert page.tags.count("script") == 1
    assert all(value.startswith("#") for tag, name, value in page.attributes if name == "href")
    assert HOSTILE.partition("|")[0] in page.tables["What answered"][1][0]


def test_hostile_names_stay_text_in_markdown() -> None:
    text = re.sub(
        r"^```text$.*?^```$|^````text$.*?^````$", "", render_markdown(hostile_run()), flags=re.M | re.S
    )
    assert "<script" not in text
    assert not re.search(r"(?<!\\)\]\(", text)
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert all(row.endswith(" |") for row in rows)


def test_hostile_names_move_no_cursor() -> None:
    assert "\x1b" not in terminal(hostile_run())


@pytest.mark.slow
def test_the_page_fetches_nothing() -> None:
    text = render_html(RUN)
    links = [value for _, name, value in Page(text).attributes if name in ("src", "href", "srcset", "data")]
    identifiers = {value for _, name, value in Page(text).attributes if name == "id"}
    assert {link.removeprefix("#") for link in links} <= identifiers
    assert all(link.startswith("#") for link in links)
    assert "url(" not in text
    assert "@import" not in text
    assert "//" not in re.sub(r"^//.*$", "", text, flags=re.M)


def test_headings_cells_and_figures_are_labelled() -> None:
    page = Page(render_html(RUN))
    assert [tag for tag in page.tags if tag == "h1"] == ["h1"]
    assert page.tags.count("desc") == page.tags.count("figure") == 4 * len(LOADS) + 2
    identifiers = [value for _, name, value in page.attributes if name == "id"]
    assert len(identifiers) == len(set(identifiers))
    labels = [value for _, name, value in page.attributes if name == "aria-labelledby"]
    assert {one for label in labels for one in label.split()} <= set(identifiers)


def test_every_heading_can_be_linked_to() -> None:
    found = re.findall(r"<h[23]([^>]*)>", render_html(RUN))
    assert len(found) > 20
    assert all(re.search(r' id="[a-z0-9-]+"', attributes) for attributes in found)


@pytest.mark.parametrize("blocks", ["all", "in turn", "all first"])
def test_which_blocks_had_controls_is_the_profiles(blocks: str) -> None:
    profile = RUN.profile.model_copy(update={"control_blocks": blocks})
    (text,) = [
        row[1].text for row in method_table(make_run(profile=profile)).rows if row[0].text == "A/A controls"
    ]
    words = {
        "all": "in all blocks",
        "in turn": "in turn by block",
        "all first": "all in the first block, then in turn by block",
    }
    assert text == f"of every side, {words[blocks]}"


@pytest.mark.parametrize("render", [render_html, render_markdown])
def test_the_things_a_reader_needs_to_repeat_the_run(render) -> None:
    text = html.unescape(render(RUN)).replace("<wbr>", "")
    assert "tandem compare models/digits_cnn --load closed:1 --load closed:8" in text
    assert RUN.percentile_method in text
    for target in RUN.targets.values():
        assert all(one.samples_file in text for one in target.rounds)
        assert all(one.sha256[:12] in text for one in target.artifacts)


@pytest.mark.slow
@pytest.mark.parametrize("render", [*RENDERERS, render_json])
def test_same_record_same_text(render) -> None:
    again = RunRecord.model_validate_json(render_json(RUN))
    assert render(RUN) == render(again) == render(make_run())


@pytest.mark.parametrize("width", [80, 100, 140])
def test_terminal_keeps_to_its_width(width: int) -> None:
    assert max(map(len, terminal(RUN, width).splitlines())) <= width


@pytest.mark.slow
def test_write_report(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "one"
    page = write_report(RUN, folder)
    write_report(RUN, folder)
    assert sorted(path.name for path in folder.iterdir()) == ["report.html", "report.md", "run.json"]
    assert page.read_text(encoding="utf-8") == render_html(RUN)
    assert read_run(folder) == RUN


@pytest.mark.slow
def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = write_report(RUN, tmp_path)
    before = page.read_bytes()

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        write_report(make_run(run_id="other"), tmp_path)
    assert page.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "report.md", "run.json"]


LAST = report_html.LIMITS[-1]


def left_out(run: RunRecord) -> str:
    found = re.search(r"Left out, so that this page stays small: (.*?) run.json has", render_html(run))
    return html.unescape(found[1]) if found else ""


@pytest.mark.slow
def test_what_has_no_place_on_the_smallest_page_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole tables and curves, and not the figures alone; of warnings the first stay."""
    assert left_out(RUN) == ""
    monkeypatch.setattr(report_html, "LIMITS", (LAST,))
    monkeypatch.setattr(report_html, "MOST_NAMED", 1000)
    many = tuple(reason("text", text=f"warning {number} of many") for number in range(25))
    run = make_run(warnings=many)
    named = left_out(run)
    full = Page(html_of_all(run, monkeypatch))
    smallest = Page(render_html(run))
    gone = full.tables.keys() - smallest.tables.keys()
    of_loads = {caption for caption in gone if caption.endswith(tuple(f"under {load}" for load in LOADS))}
    assert all(caption in named for caption in gone - of_loads)
    assert len(gone - of_loads) > 5
    assert f"pictures of ratios ({len(LOADS)} of {len(LOADS)})" in named
    assert f"loads ({len(LOADS)} of {len(LOADS)})" in named
    assert re.search(r"warnings \(\d+ of \d+\)", named)
    assert "warning 0 of many" in render_html(run)


def html_of_all(run: RunRecord, monkeypatch: pytest.MonkeyPatch) -> str:
    with monkeypatch.context() as patched:
        patched.setattr(report_html, "LIMITS", (report_html.Limits(400, 600, 12, 60),))
        return render_html(run)


def test_pictures_of_ratios_beyond_the_first_are_named() -> None:
    rows = tuple(comparison(load=f"closed:{number}") for number in range(1, 15))
    named = left_out(make_run(comparisons=rows))
    assert "pictures of ratios (2 of 14)" in named


def test_where_the_time_goes_is_named_where_there_are_too_many_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_html, "LIMITS", (report_html.Limits(400, 600, 1, 60),))
    monkeypatch.setattr("pipelines.report.time_split.splits", lambda _: {"closed:1": {}})
    assert "where the time goes" in left_out(RUN)

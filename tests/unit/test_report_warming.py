import csv
import io
import xml.etree.ElementTree as ET

import pytest
from report_fixture import make_run
from report_warming_fixture import conditioning, run_with

from pipelines.record.conditioning import DriftRecord
from pipelines.report.figures.curves import curves_plot
from pipelines.report.html import render_html
from pipelines.report.markdown import render_markdown
from pipelines.report.sections import curves_figure
from pipelines.report.warming import curves, drift_table, warming_table


def texts(table):
    return [[cell.text for cell in row] for row in table.rows]


def test_the_table_has_a_row_per_fresh_server_and_the_spread_over_blocks():
    again = conditioning(0, rates=(990, 1000), until=0.0)
    table = warming_table(run_with(conditioning(0), again, conditioning(1, until=1.0)))
    assert [row[:3] for row in texts(table)] == [["torchserve", "0", "3.00"], ["torchserve", "1", "1.00"]]
    assert [row[3] for row in texts(table)] == ["1\u202f900", "400"]
    assert "1.00 to 3.00 s over 2 of 2 starts" in table.remark


@pytest.mark.parametrize("state", ["climbing", "unsettled"])
def test_a_server_that_was_not_shown_steady_has_no_time_and_a_reason(state):
    table = warming_table(run_with(conditioning(until=None, state=state)))
    assert table.rows[0][2].why
    assert table.rows[0][2].exact is None
    assert len(table.notes) == 1


def drawn(run):
    svg = ET.fromstring(curves_plot(curves(run)[0], "curves", {"torchserve": 0}))  # noqa: S314 - our own
    return svg, [one for one in svg.iter("g") if one.get("class", "").startswith("round")]


def lines(group):
    """The corners of each line of a start, one line a panel."""
    paths = [one.get("d") for one in group.iter("path") if "search" in one.get("class", "")]
    return [[tuple(map(float, at.split())) for at in path[1:].split("L")] for path in paths]


def marks(group):
    """The middles of the marks, which are circles 4.5 in radius."""
    paths = [one.get("d") for one in group.iter("path") if "mark" in one.get("class", "")]
    return [(float(x) + 4.5, float(y)) for x, y in (path[1:].partition("a")[0].split() for path in paths)]


def test_every_start_has_a_line_and_a_mark_where_it_was_steady_in_every_panel():
    run = run_with(conditioning(0), conditioning(1, until=None, state="climbing"))
    _, groups = drawn(run)
    assert [[len(line) for line in lines(group)] for group in groups] == [[5, 5, 5], [5, 5, 5]]
    assert [len(marks(group)) for group in groups] == [3, 0]
    tops = [line[0][1] for line in lines(groups[0])]
    assert tops == sorted(tops)


@pytest.mark.parametrize(
    ("rates", "until", "second"),
    [
        ((0, 0, 500, 0, 600), 2.0, 3),
        ((0, 0, 500, 0, 600), 3.0, 4),
        ((400, 600, 900), 0.0, 1),
        ((400, 600, 0), 2.0, 3),
    ],
)
def test_the_mark_is_at_the_second_that_was_steady_first(rates, until, second):
    """Seconds without an answer are in no line, and are counted all the same."""
    svg, (group,) = drawn(run_with(conditioning(rates=rates, until=until)))
    ends = [float(one.get("x1")) for one in svg.iter("line") if one.get("class") == "axis"]
    width = 626 - ends[0]
    wanted = ends[0] + width * second / (len(rates) + 0.5)
    assert [x for x, _ in marks(group)] == pytest.approx([wanted] * 3, abs=0.1)


def test_the_panels_are_throughput_p50_and_cpu_per_request():
    svg, (group,) = drawn(run_with(conditioning(rates=(100, 200, 400), until=0.0)))
    labels = [one.text for one in svg.iter("text") if one.get("class") == "label"]
    assert [label.split(",")[0].split(" (")[0] for label in labels[:3]] == [
        "requests/s",
        "p50",
        "server CPU per request",
    ]
    rate, p50, cpu = ([y for _, y in line] for line in lines(group))
    assert rate == sorted(rate, reverse=True)
    assert len(set(p50)) == 1
    assert cpu == sorted(cpu)


def test_without_a_reading_of_the_cpu_there_is_no_panel_for_it():
    one = conditioning()
    blind = tuple(second.model_copy(update={"server_cpu_s": None}) for second in one.seconds)
    svg, (group,) = drawn(run_with(one.model_copy(update={"seconds": blind})))
    assert len(lines(group)) == 2
    assert not any("CPU" in (text.text or "") for text in svg.iter("text"))


def test_the_data_of_the_curves_have_cpu_per_request():
    rows = list(csv.DictReader(io.StringIO(curves_figure(run_with(conditioning(rates=(0, 900)))).data)))
    assert [row["cpu_ms_per_request"] for row in rows] == ["", "1.0"]


def test_curves_of_a_long_run_are_thinned_by_whole_blocks():
    run = run_with(*(conditioning(block) for block in range(200)))
    targets = {**run.targets, "tfserving": run.targets["torchserve"]}
    found, words = curves(run.model_copy(update={"targets": targets}), 60)
    blocks = {name: [one.block for one in own] for name, own in found.items()}
    assert blocks["torchserve"] == blocks["tfserving"] == list(range(0, 200, 7))
    assert words == "one block in 7 of 200; "
    assert curves(run, 200)[1] == ""


def test_seconds_without_an_answer_do_not_break_the_figure():
    run = run_with(
        conditioning(rates=(0, 0, 500, 0, 600), until=2.0), conditioning(1, rates=(0, 0), until=None)
    )
    assert curves_plot(curves(run)[0], "curves", {"torchserve": 0})
    assert curves_plot({}, "curves", {}) is None


def test_drifts_are_listed_with_what_followed():
    found = [
        DriftRecord(block=0, load="closed:8", change=0.52, resolved=True),
        DriftRecord(block=1, load="closed:8", change=-0.2, resolved=False),
    ]
    rows = texts(drift_table(run_with(conditioning(), drifts=found)))
    assert [row[3] for row in rows] == ["+52%", "-20%"]
    assert len({row[4] for row in rows}) == 2


@pytest.mark.slow
def test_the_pages_show_it_and_older_runs_have_none():
    for render in (render_html, render_markdown):
        assert "Time until steady" in render(run_with(conditioning()))
        assert "Time until steady" not in render(make_run())

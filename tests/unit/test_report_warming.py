import xml.etree.ElementTree as ET

import pytest
from report_fixture import make_run

from pipelines.record.conditioning import ConditioningRecord, DriftRecord, SecondRecord
from pipelines.report.figures.curves import curves_plot
from pipelines.report.html import render_html
from pipelines.report.markdown import render_markdown
from pipelines.report.warming import curves, drift_table, warming_table


def conditioning(block=0, rates=(400, 600, 900, 1000, 1000), until=3.0, state="steady"):
    return ConditioningRecord(
        block=block,
        load="closed:8",
        samples_files=(f"samples/conditioning-block{block}-torchserve-0-0.parquet",),
        state=state,
        until_steady_s=until,
        until_steady_requests_count=None if until is None else sum(rates[: int(until)]),
        duration_s=float(len(rates)),
        requests_count=sum(rates),
        errors_count=0,
        seconds=tuple(SecondRecord(requests_count=one, p50_ms=5.0, server_cpu_s=0.9) for one in rates),
    )


def run_with(*conditionings, drifts=()):
    run = make_run()
    target = run.targets["torchserve"].model_copy(
        update={"conditionings": conditionings, "drifts": tuple(drifts)}
    )
    return run.model_copy(update={"targets": {**run.targets, "torchserve": target}})


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


def test_every_start_is_a_line_with_a_mark_where_it_was_steady():
    run = run_with(conditioning(0), conditioning(1, until=None, state="climbing"))
    svg = ET.fromstring(curves_plot(curves(run), "curves", {"torchserve": 0}))  # noqa: S314 - our own
    groups = [one for one in svg.iter("g") if one.get("class", "").startswith("round")]
    assert len(groups) == 2
    assert [sum(1 for _ in group.iter("line")) for group in groups] == [4, 4]
    assert [sum(1 for _ in group.iter("path")) for group in groups] == [1, 0]


def test_seconds_without_an_answer_do_not_break_the_figure():
    run = run_with(
        conditioning(rates=(0, 0, 500, 0, 600), until=2.0), conditioning(1, rates=(0, 0), until=None)
    )
    assert curves_plot(curves(run), "curves", {"torchserve": 0})
    assert curves_plot({}, "curves", {}) is None


def test_drifts_are_listed_with_what_followed():
    found = [
        DriftRecord(block=0, load="closed:8", change=0.52, resolved=True),
        DriftRecord(block=1, load="closed:8", change=-0.2, resolved=False),
    ]
    rows = texts(drift_table(run_with(conditioning(), drifts=found)))
    assert [row[3] for row in rows] == ["+52%", "-20%"]
    assert len({row[4] for row in rows}) == 2


def test_the_pages_show_it_and_older_runs_have_none():
    for render in (render_html, render_markdown):
        assert "Time until steady" in render(run_with(conditioning()))
        assert "Time until steady" not in render(make_run())

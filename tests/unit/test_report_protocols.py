"""The table of protocols: figures per row, from the record, and only where it says something."""

import pytest
from report_fixture import make_run

from pipelines.console import format as fmt
from pipelines.judge.per_row import requests_per_run
from pipelines.record.target import PayloadRecord
from pipelines.record.time_split import TimeSplitRecord
from pipelines.report import pick
from pipelines.report.html import render_html
from pipelines.report.markdown import render_markdown
from pipelines.report.protocols import NOT_BATCHED, protocol_table
from pipelines.report.time_split import time_table

ROWS = 4


def payload(protocol, codec, rows=1):
    return PayloadRecord(
        protocol=protocol,
        codec=codec,
        rows=rows,
        bodies_count=3,
        body_bytes_min=100,
        body_bytes_max=120,
        body_example="x",
    )


def run_with(payloads, **changes):
    """The fixture's run with these payloads by target, and every round changed."""
    run = make_run()
    targets = {
        name: target.model_copy(
            update={
                "payload": payloads.get(name),
                "rounds": tuple(one.model_copy(update=changes) for one in target.rounds),
            }
        )
        for name, target in run.targets.items()
    }
    return run.model_copy(update={"targets": targets})


def test_sides_that_are_asked_alike_have_no_such_table():
    assert protocol_table(make_run()).rows == ()
    alike = {name: payload("REST", "json-rows") for name in ("torchserve", "tfserving")}
    assert protocol_table(run_with(alike)).rows == ()


def test_figures_per_row_are_those_of_requests_over_their_rows():
    both = {
        "torchserve": payload("gRPC", "tensor-map", ROWS),
        "tfserving": payload("gRPC", "tensor-proto", ROWS),
    }
    run = run_with(both)
    table = protocol_table(run)
    loads, names = pick.loads(run), list(pick.compared(run))
    assert len(table.rows) == len(loads) * len(names)
    at = {column.name: place for place, column in enumerate(table.columns)}
    summary = pick.summary_of(run.targets[names[0]], loads[0])
    assert summary.server_cpu_ms_per_row
    row = table.rows[0]
    assert [row[at[name]].text for name in ("over", "body", "rows in it")] == [
        "gRPC",
        "tensor-map",
        str(ROWS),
    ]
    assert row[at["request"]].text == "100 to 120"
    assert float(row[at["per row"]].exact.split()[0]) == pytest.approx(summary.latency_ms.p50 / ROWS)
    low, high = summary.latency_ms.intervals["p50"]
    assert row[at["per row"]].beside == fmt.span((low / ROWS, high / ROWS), fmt.significant)
    assert float(row[at["rows"]].exact.split()[0]) == pytest.approx(summary.throughput_per_s * ROWS)
    assert float(row[at["server CPU per row"]].exact.split()[0]) == summary.server_cpu_ms_per_row
    assert row[at["requests per run"]].why == NOT_BATCHED


def test_batching_shows_what_it_achieved():
    alike = {name: payload("REST", "json-rows") for name in ("torchserve", "tfserving")}
    table = protocol_table(run_with(alike, requests_per_run=6.5))
    assert {row[-1].text for row in table.rows} == {"6.50"}


def test_requests_that_share_a_run_are_those_of_the_middle_valid_round_of_the_load():
    own = [one for one in make_run().targets["torchserve"].rounds if one.load == "closed:1"]
    shares = zip((2.0, 9.0, 3.0, 50.0), (True, True, True, False), strict=True)
    rounds = [
        one.model_copy(update={"requests_per_run": share, "valid": valid})
        for one, (share, valid) in zip(own, shares, strict=True)
    ]
    assert requests_per_run(rounds, "closed:1") == 3.0
    assert requests_per_run(rounds, "closed:8") is None


def test_the_p50_of_a_split_time_has_its_interval_beside_it():
    run = make_run()
    target = run.targets["torchserve"]
    split = TimeSplitRecord(
        p50_ms=2.9, parts_ms={"inference": 2.0}, unexplained_ms=0.9, unexplained_share=0.3
    )
    summaries = tuple(one.model_copy(update={"time_split": split}) for one in target.summaries)
    targets = run.targets | {"torchserve": target.model_copy(update={"summaries": summaries})}
    row = time_table(make_run(targets=targets)).rows[0]
    interval = target.summaries[0].latency_ms.intervals["p50"]
    assert row[2].beside == fmt.span(interval, fmt.significant)


@pytest.mark.parametrize("render", [render_html, render_markdown])
def test_every_page_has_it(render):
    ways = {"torchserve": payload("REST", "npy"), "tfserving": payload("gRPC", "tensor-proto")}
    assert "The same model over every protocol and body" in render(run_with(ways))
    assert "The same model over every protocol and body" not in render(make_run())

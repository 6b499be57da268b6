"""The mobile artifacts in the HTML page, the Markdown page and the terminal."""

import html
import io
import re

import pytest
from report_fixture import make_run
from report_mobile_fixture import (
    BROKEN,
    CRASHED,
    NO_LITE,
    RUNTIMES,
    TOO_FEW,
    make_mobile,
    make_mobile_run,
    mobile_artifact,
    mobile_artifacts,
    without_winner,
)
from report_parts import artifact
from rich.console import Console
from test_report_pages import HOSTILE, Page, as_number, markdown_table

from pipelines.console import format as fmt
from pipelines.record.mobile import MobileArtifactRecord
from pipelines.record.reason import ReasonRecord, reason
from pipelines.record.run import RunRecord
from pipelines.report import mobile, write_report
from pipelines.report.html import render_html
from pipelines.report.json import render_json
from pipelines.report.markdown import render_markdown
from pipelines.report.sentences import sentence
from pipelines.report.terminal import print_run

RUN = make_mobile_run()
SIZES = "Size and accuracy"
SPEED = "Speed on this host (host CPU, not a phone)"
CONTENT = "What each holds and needs"
INT8 = "digits_cnn_int8.tflite"


def terminal(run: RunRecord, width: int = 120) -> str:
    out = io.StringIO()
    print_run(run, Console(file=out, width=width))
    return out.getvalue()


RENDERERS = [render_html, render_markdown, terminal]


def flat(text: str) -> str:
    """On one line, ordinary spaces, without markup for breaks."""
    spaced = html.unescape(text).replace("<wbr>", "").replace("\\", "").replace(fmt.THIN, " ")
    return re.sub(r"\s+", " ", spaced).replace(" %", "%")


def rows(run: RunRecord, caption: str) -> dict[tuple[str, str], list[str]]:
    """Cells of the HTML table after the first two, by precision and artifact."""
    table = Page(render_html(run)).tables[caption][1:]
    return {(row[0], row[1].replace("\xa0", "").strip()): row[2:] for row in table}


def by_place(run: RunRecord) -> dict[tuple[str, str], MobileArtifactRecord]:
    assert run.mobile
    return {(one.precision, mobile.file_kind(run.mobile, one)): one for one in run.mobile.artifacts}


@pytest.mark.parametrize("render", RENDERERS)
def test_it_says_what_to_ship_and_why(render) -> None:
    text = flat(render(RUN))
    assert f"Ship {INT8}: tflite int8, 29.1 kB, accuracy 98.06%." in text
    assert "is the smallest of 8 that pass" in text
    assert "at most 1 point below the source model's, 98.61%, in a file of any size" in text


@pytest.mark.parametrize("render", RENDERERS)
def test_it_says_that_none_passes(render) -> None:
    text = flat(render(make_mobile_run(without_winner())))
    assert "No artifact passes: ship none of them." in text
    assert "None of 10 artifacts passes: digits_cnn_float32.tflite (size 90.0 kB, at most 20.0 kB is" in text
    assert "in a file of at most 20 kB" in text
    assert " Ship digits" not in text


def test_an_artifact_that_failed_is_not_the_one_to_ship() -> None:
    same = tuple(one.model_copy(update={"passed": False}) for one in mobile_artifacts())
    assert mobile.chosen(make_mobile(artifacts=same)) is None


def test_sizes_and_accuracies_read_back_from_the_page_are_the_records() -> None:
    read = rows(RUN, SIZES)
    assert read.keys() == by_place(RUN).keys()
    for place, one in by_place(RUN).items():
        size, _, gzip, zstd, accuracy, drop = read[place][:6]
        for cell, value in ((size, one.size_bytes), (gzip, one.gzip_bytes), (zstd, one.zstd_bytes)):
            assert as_number(cell.removesuffix("kB")) * 1000 == pytest.approx(value, rel=5e-3)
        if one.accuracy is not None:
            assert as_number(accuracy.removesuffix("%")) == pytest.approx(one.accuracy * 100, abs=5e-3)
            assert as_number(drop) == pytest.approx((one.accuracy_drop or 0) * 100, abs=5e-3)


def test_latencies_read_back_from_the_pages_are_the_records() -> None:
    read = rows(RUN, SPEED)
    for place, one in by_place(RUN).items():
        expected = [None] * 6
        if one.timings:
            single, every = one.timings[0], one.timings[1] if len(one.timings) == 2 else None
            expected = [single.load_ms, single.first_inference_ms, single.p50_ms, single.p95_ms]
            expected += [every.p50_ms, every.p95_ms] if every else [None, None]
        cells = [None if cell.startswith(fmt.MISSING) else as_number(cell) for cell in read[place][:6]]
        assert [value is None for value in cells] == [value is None for value in expected]
        known = [value for value in expected if value is not None]
        assert [value for value in cells if value is not None] == pytest.approx(known, rel=5e-3)


def test_both_pages_have_the_same_tables() -> None:
    page, text = Page(render_html(RUN)).tables, render_markdown(RUN)
    for caption in (SIZES, SPEED, CONTENT, "Runtime libraries", "Could not be exported"):
        assert len(markdown_table(text, caption)) - 1 == len(page[caption])


def test_sizes_are_set_against_the_float32_of_the_same_variant() -> None:
    shown = make_mobile(
        artifacts=(
            mobile_artifact("executorch", "float32", 1000, 0.9, 1.0, variant="portable"),
            mobile_artifact("executorch", "float32", 2000, 0.9, 1.0, variant="xnnpack"),
            mobile_artifact("executorch", "int8", 500, 0.9, 1.0, variant="xnnpack"),
            mobile_artifact("executorch", "int8", 300, 0.9, 1.0, variant="quantised"),
            mobile_artifact("tflite", "int8", 300, 0.9, 1.0),
        )
    )
    found = [mobile.share_of_float32(shown, one) for one in shown.artifacts]
    assert found == [1.0, 1.0, 0.25, 0.3, None]


def test_precisions_stand_together() -> None:
    order = [one.precision for one in mobile.by_precision(make_mobile())]
    assert order == sorted(order, key=list(dict.fromkeys(order)).index)
    assert order[:4] == ["float32"] * 4


def test_names_tell_artifacts_apart() -> None:
    shown = make_mobile()
    names = [mobile.unique_name(shown, one) for one in shown.artifacts]
    assert len(set(names)) == len(names)
    assert {"int8", "float16", "tflite float32", "onnx float32", "int8 xnnpack"} <= set(names)


def test_a_target_with_two_formats_names_them() -> None:
    one = mobile_artifact("executorch", "float32", 1000, 0.9, 1.0)
    shown = make_mobile(artifacts=(one, one.model_copy(update={"format": "ptl"})))
    assert [mobile.file_kind(shown, each) for each in shown.artifacts] == ["executorch pte", "executorch ptl"]


@pytest.mark.parametrize("render", RENDERERS)
def test_what_is_missing_has_its_reason(render) -> None:
    text = flat(render(RUN))
    codes = (sentence(TOO_FEW), sentence(BROKEN[0]))
    for why in (*codes, CRASHED, NO_LITE, "not timed with more than one thread"):
        assert why in text
    for library in RUNTIMES.values():
        assert library.source in text


@pytest.mark.slow
def test_nothing_that_was_not_measured_reads_zero() -> None:
    crashed = rows(RUN, SIZES)["int8", "executorch portable"]
    assert [cell[0] for cell in crashed[4:8]] == [fmt.MISSING] * 4
    assert all(cell[0] == fmt.MISSING for cell in rows(RUN, SPEED)["int8", "executorch portable"])


def test_failures_stand_out() -> None:
    read = rows(RUN, SIZES)
    assert read["int8", "executorch xnnpack"][-1].startswith("FAILS")
    assert read["int8", "tflite"][-1] == "ship"
    assert read["float16", "tflite"][-1] == "passes"


@pytest.mark.slow
@pytest.mark.parametrize("render", RENDERERS)
def test_every_table_of_latencies_says_whose_they_are(render) -> None:
    captions = [line for line in flat(render(RUN)).split("precision") if "host CPU, not a phone" in line]
    assert captions
    for caption in Page(render_html(RUN)).tables:
        if "Speed" in caption or "timing" in caption:
            assert "host CPU, not a phone" in caption


@pytest.mark.parametrize("render", RENDERERS)
def test_a_mobile_run_has_no_empty_part(render) -> None:
    text = flat(render(RUN))
    for absent in ("No load was measured", "What it says", "no comparison", "request body", "raw requests"):
        assert absent not in text
    assert "What answered" not in text


def test_the_page_has_only_headings_with_something_below() -> None:
    headings = re.findall(r"<h2 id=\S+>(.*?) <a", render_html(RUN))
    own = ["Which file to ship", "Every artifact for devices"]
    assert headings == [*own, "Artifacts", "Model, method and machine", "Reproduce"]


@pytest.mark.parametrize("render", [render_html, render_markdown])
def test_warnings_stand_above_the_figures(render) -> None:
    warning = "the machine was not quiet"
    text = render(make_mobile_run(warnings=(reason("text", text=warning),)))
    assert text.index("Which file to ship") < text.index(warning) < text.index(SPEED)
    assert text.count(warning) == 1


@pytest.mark.parametrize("render", RENDERERS)
def test_a_mobile_run_that_measured_nothing(render) -> None:
    run = make_run(kind="mobile", mobile=None, targets={}, artifacts=(), comparisons=(), controls=())
    failed = run.model_copy(
        update={"profile": None, "payload": None, "status": "failed", "status_reason": "no torch"}
    )
    assert "This run failed: no torch." in flat(render(failed))


@pytest.mark.parametrize("render", RENDERERS)
def test_an_empty_list_of_artifacts(render) -> None:
    shown = make_mobile(artifacts=(), runtimes={}, gate=without_winner().gate)
    assert "No artifact passes" in flat(render(make_mobile_run(shown)))


@pytest.mark.parametrize("render", RENDERERS)
def test_a_comparison_includes_the_mobile_artifacts_after_the_loads(render) -> None:
    text = flat(render(make_run(mobile=make_mobile())))
    assert f"Ship {INT8}" in text
    assert text.index("Latency and throughput under closed:8") < text.index(f"Ship {INT8}")
    assert text.index("tfserving") < text.index(f"Ship {INT8}")


@pytest.mark.slow
def test_served_latencies_and_those_in_process_share_no_table() -> None:
    tables = Page(render_html(make_run(mobile=make_mobile()))).tables
    for caption, found in tables.items():
        words = {cell.strip() for row in found for cell in row}
        if any("executorch" in word for word in words):
            assert not any("torchserve" in word for word in words), caption


@pytest.mark.slow
def test_variants_of_exported_artifacts_have_a_column() -> None:
    plain = Page(render_html(RUN)).tables["Artifacts"]
    assert "variant" not in plain[0]
    varied = make_mobile_run(artifacts=(artifact("executorch", "pte", "int8", 900, "xnnpack"),))
    assert Page(render_html(varied)).tables["Artifacts"][1][3] == "xnnpack"


@pytest.mark.parametrize("width", [80, 100, 120, 160])
def test_terminal_keeps_to_its_width_and_cuts_no_figure(width: int) -> None:
    text = terminal(RUN, width)
    assert max(map(len, text.splitlines())) <= width
    timed = [one for one in by_place(RUN).values() if one.timings]
    assert text.count("1.40 MB") == len(timed)
    assert text.count("FAILS [") == 2
    assert text.count("ship\n") + text.count("ship ") >= 1


def said(text: str) -> ReasonRecord:
    """What a field of a reason becomes that holds a sentence."""
    return reason("text", text=text)


def hostile_run() -> RunRecord:
    one = mobile_artifact(HOSTILE_TARGET, HOSTILE, 900, 0.9, 1.0, variant=HOSTILE)
    crashed = one.model_copy(update={"error": HOSTILE, "failures": (said(HOSTILE),), "passed": False})
    library = RUNTIMES["executorch"].model_copy(update={"source": HOSTILE, "name": HOSTILE})
    shown = make_mobile()
    gate = shown.gate.model_copy(update={"reason": said(HOSTILE), "chosen": HOSTILE})
    refused = shown.not_exported[0].model_copy(update={"reason": HOSTILE, "target": HOSTILE})
    update = {"artifacts": (one, crashed), "gate": gate, "not_exported": (refused,)}
    return make_mobile_run(shown.model_copy(update=update | {"runtimes": {"executorch": library}}))


HOSTILE_TARGET = "executorch"


def test_hostile_names_stay_text() -> None:
    page = Page(render_html(hostile_run()))
    assert page.tags.count("script") == 1
    assert all(value.startswith("#") for tag, name, value in page.attributes if name == "href")
    assert "\x1b" not in terminal(hostile_run())
    text = render_markdown(hostile_run())
    assert "<script" not in text
    assert all(line.endswith(" |") for line in text.splitlines() if line.startswith("| "))


@pytest.mark.slow
@pytest.mark.parametrize("render", [*RENDERERS, render_json])
def test_same_record_same_text(render) -> None:
    again = RunRecord.model_validate_json(render_json(RUN))
    assert render(RUN) == render(again)


@pytest.mark.slow
def test_write_report(tmp_path) -> None:
    assert write_report(RUN, tmp_path).read_text(encoding="utf-8") == render_html(RUN)


@pytest.mark.slow
def test_identifiers_are_unique() -> None:
    page = Page(render_html(make_run(mobile=make_mobile())))
    identifiers = [value for _, name, value in page.attributes if name == "id"]
    assert len(identifiers) == len(set(identifiers))

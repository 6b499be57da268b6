"""Latency and throughput over the run, latency against throughput, and the data of the figures."""

import csv
import io
import xml.etree.ElementTree as ET

import pytest
from report_fixture import invalid, make_run
from report_parts import LOADS
from report_slo_fixture import make_slo_run

from pipelines.judge.timeline import points_of
from pipelines.report import data, pick, sections
from pipelines.report.figures.load_curve import load_curve_plot
from pipelines.report.figures.timeline import timeline_plot
from pipelines.report.html import LIMIT_BYTES, render_html

RUN = make_run()
SLOTS = sections.slots(RUN)
COMPARED = [one for one in pick.all_rounds(RUN) if one.target in pick.compared(RUN)]


def timeline(rounds=COMPARED, unused=()):
    return ET.fromstring(timeline_plot(rounds, "t", SLOTS, unused, "title"))  # noqa: S314 - our own


def of_class(svg: ET.Element, *names: str) -> list[ET.Element]:
    return [one for one in svg.iter() if set(names) <= set(one.get("class", "").split())]


def test_every_round_is_drawn_and_only_unused_ones_are_shaded() -> None:
    unused = {one.index for one in pick.unused(RUN)}
    svg = timeline(unused=unused)
    assert len(of_class(svg, "round")) == len(COMPARED)
    assert len(of_class(svg, "spoilt")) == len(unused & {one.index for one in COMPARED}) == 1
    assert len(of_class(svg, "block")) == 1
    assert len(of_class(svg, "thick")) == 2 * len(COMPARED)


def test_a_pause_leaves_a_gap_in_latency_and_none_in_throughput() -> None:
    one = COMPARED[0]
    pause = one.slices[2].model_copy(update={"requests_count": 0, "p50_ms": None, "max_ms": None})
    found = points_of(one.model_copy(update={"slices": (*one.slices[:2], pause, *one.slices[3:])}), 0.0)
    assert [point.p50_ms is None for point in found] == [False, False, True, False, False]
    assert found[2].per_s == 0


def test_a_round_without_stretches_is_one_point() -> None:
    one = COMPARED[0].model_copy(update={"slices": ()})
    (point,) = points_of(one, 100.0)
    assert (point.at_s, point.p50_ms, point.per_s) == (105.0, one.latency_ms.p50, one.throughput_per_s)
    assert len(of_class(timeline([one]), "round")) == 1


def test_nothing_measured_is_no_figure() -> None:
    assert timeline_plot([], "t", SLOTS, (), "title") is None
    assert load_curve_plot({"torchserve": []}, "l", SLOTS) is None


def test_latency_against_throughput_has_a_point_per_load_side_and_percentile() -> None:
    plot = sections.load_curve_figure(RUN)
    assert plot is not None
    svg = ET.fromstring(plot.svg)  # noqa: S314 - our own
    assert len(of_class(svg, "mark")) == 2 * 2 * len(LOADS)
    assert [one.text for one in of_class(svg, "name")] == [*LOADS, *LOADS]


def test_a_search_has_its_rounds_over_time() -> None:
    assert "Latency and throughput over the run" in render_html(make_slo_run())


@pytest.mark.parametrize("load", LOADS)
def test_the_data_of_a_figure_are_the_records_digits(load: str) -> None:
    section = sections.load_section(RUN, load, 1)
    rows = list(csv.DictReader(io.StringIO(section.plots[1].data)))
    own = {str(one.index): one for one in pick.rounds_of(RUN, load)}
    assert len(rows) == sum(one.target != "null" for one in own.values())
    for row in rows:
        assert float(row["p99_ms"]) == own[row["round"]].latency_ms.p99
        assert float(row["throughput_per_s"]) == own[row["round"]].throughput_per_s


def test_data_begin_no_formula_and_keep_their_lines() -> None:
    text = data.to_csv(("a", "b"), [("=1+1", None), ("x\ny", 0.1)])
    assert list(csv.reader(io.StringIO(text))) == [["a", "b"], ["'=1+1", ""], ["x y", "0.1"]]


@pytest.mark.slow
def test_a_long_run_makes_a_small_page_that_says_what_it_leaves_out() -> None:
    rounds = tuple(
        COMPARED[number % 4].model_copy(
            update={"index": number, "block": number // 20, "repetition": number % 20, "load": f"closed:{n}"}
        )
        for n in range(1, 15)
        for number in range(100 * n, 100 * n + 50)
    )
    spoilt = tuple(invalid(one) if one.index % 3 == 0 else one for one in rounds)
    targets = {
        name: RUN.targets[name].model_copy(
            update={
                "rounds": tuple(one.model_copy(update={"target": name}) for one in spoilt),
                "summaries": tuple(
                    RUN.targets[name].summaries[0].model_copy(update={"load": f"closed:{n}"})
                    for n in range(1, 15)
                ),
            }
        )
        for name in ("torchserve", "tfserving")
    }
    page = render_html(make_run(targets=targets))
    assert len(page.encode()) <= LIMIT_BYTES
    assert "of 1400 rows; run.json has all of them" in page
    assert "one repetition in" in page


def test_rounds_are_thinned_by_whole_repetitions() -> None:
    found, words = pick.thinned(COMPARED, 8)
    assert 0 < len(found) <= 8
    assert words.startswith(f"one repetition in 3 of {len(COMPARED)} rounds")
    places = {(one.block, one.repetition) for one in found}
    assert found == [one for one in COMPARED if (one.block, one.repetition) in places]
    assert pick.thinned(COMPARED, 100) == (COMPARED, "")

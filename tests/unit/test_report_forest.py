"""The interval plot: intervals, margin and noise floor where they belong, sides that say what they mean."""

import itertools
import math
import xml.etree.ElementTree as ET

import pytest
from report_fixture import make_run
from report_parts import comparison

from pipelines.record.comparison import ComparisonRecord
from pipelines.report.figures.forest import Row, forest_plot
from pipelines.report.sections import forests

VERDICTS = ("better", "worse", "equivalent", "inconclusive", None)


def drawn(*comparisons: ComparisonRecord, pairs: tuple[float, ...] = ()) -> ET.Element:
    svg = forest_plot(
        "title",
        "f",
        "TorchServe",
        [Row(one.model_copy(update={"pair_ratios": pairs})) for one in comparisons],
    )
    assert svg is not None
    return ET.fromstring(svg)  # noqa: S314


def texts(svg: ET.Element) -> list[str]:
    return [one.text or "" for one in svg.iter("text")]


def of_class(svg: ET.Element, name: str) -> list[ET.Element]:
    return [one for one in svg.iter() if name in one.get("class", "").split()]


def at(one: ET.Element, name: str) -> float:
    return float(one.get(name, "nan"))


@pytest.mark.parametrize(
    ("metric", "directions"),
    [
        ("p50", ["← TorchServe faster", "TorchServe slower →"]),
        ("p99", ["← TorchServe faster", "TorchServe slower →"]),
        ("throughput_per_s", ["← TorchServe slower", "TorchServe faster →"]),
    ],
)
def test_each_side_says_what_it_means(metric: str, directions: list[str]) -> None:
    assert [text for text in texts(drawn(comparison(metric=metric))) if "TorchServe" in text] == directions


def test_latency_and_throughput_have_directions_of_their_own() -> None:
    said = texts(drawn(comparison(metric="throughput_per_s"), comparison(metric="p99")))
    assert said.index("← TorchServe faster") < said.index("p99") < said.index("← TorchServe slower")
    assert said.index("← TorchServe slower") < said.index("throughput")


@pytest.mark.parametrize(("ratio", "verdict"), list(itertools.product((0.4, 1.0, 1.9), VERDICTS)), ids=str)
def test_ratio_and_verdict_stand_beside_the_interval(ratio: float, verdict: str | None) -> None:
    svg = drawn(comparison(ratio=ratio, verdict=verdict))
    assert f"{ratio:.2f}" in texts(svg)
    assert (verdict or "no verdict") in texts(svg)
    one, point = of_class(svg, "one")[0], of_class(svg, "estimate")[0]
    assert math.copysign(1, at(point, "cx") - at(one, "x1")) == (1 if ratio >= 1 else -1)


def test_the_axis_is_symmetric_and_logarithmic() -> None:
    svg = drawn(comparison(ratio=2.0, interval=(0.5, 2.0), noise_floor=0.25, margin=0.25))
    middle = at(of_class(svg, "one")[0], "x1")
    low, high = sorted({at(one, "x1") for one in of_class(svg, "interval")})
    assert middle - low == pytest.approx(high - middle, abs=0.02)
    band = of_class(svg, "margin")[0]
    reach = (high - middle) * math.log(1.25) / math.log(2)
    assert at(band, "x") == pytest.approx(middle - reach, abs=0.02)
    assert at(band, "width") == pytest.approx(2 * reach, abs=0.02)
    assert [at(one, "x1") for one in of_class(svg, "noise")] == pytest.approx(
        [middle - reach, middle + reach], abs=0.02
    )


def test_without_a_control_no_floor_is_drawn() -> None:
    assert of_class(drawn(comparison(noise_floor=None)), "noise") == []


def test_a_single_pair_is_hollow_and_has_no_interval() -> None:
    svg = drawn(comparison(ratio=None, interval=None, round_range=(3.28, 3.28), pairs_count=1, verdict=None))
    assert len(of_class(svg, "alone")) == 1
    assert of_class(svg, "interval") == []
    assert "3.28" in texts(svg)


def test_everything_stays_inside_however_wide() -> None:
    svg = drawn(comparison(ratio=40.0, interval=(0.02, 4000.0)), pairs=(0.001, 9000.0))
    width = float(svg.get("viewBox", "").split()[2])
    across = [at(one, key) for one in svg.iter() for key in ("x1", "x2", "cx", "x") if one.get(key)]
    assert 0 <= min(across) <= max(across) <= width


def test_no_ratio_gives_no_plot() -> None:
    nothing = comparison(ratio=None, interval=None, round_range=None, pairs_count=0)
    assert forest_plot("title", "f", "TorchServe", [Row(nothing)]) is None


def test_a_row_without_a_ratio_is_still_there() -> None:
    nothing = comparison(metric="p50", ratio=None, interval=None, round_range=None, pairs_count=0)
    assert "no ratio" in texts(drawn(comparison(), nothing))


def test_one_figure_per_load_and_pair_of_targets() -> None:
    rows = (comparison(), comparison(metric="p50"), comparison(candidate="other"), comparison(load="x"))
    found = forests(make_run(comparisons=rows))
    assert [one.caption for one in found] == [
        "TorchServe / tfserving under closed:8",
        "other / tfserving under closed:8",
        "TorchServe / tfserving under x",
    ]


def test_the_interval_a_corrected_verdict_goes_by_is_drawn_wider_than_the_bar() -> None:
    wide = drawn(comparison(verdict_confidence=0.983, verdict_interval=(1.5, 2.4)))
    (judged,) = of_class(wide, "judged")
    ends = [at(line, "x1") for line in of_class(wide, "interval")]
    assert at(judged, "x1") < min(ends)
    assert at(judged, "x2") > max(ends)
    assert of_class(drawn(comparison()), "judged") == []

"""Scales, ticks and figures."""

import xml.etree.ElementTree as ET

import pytest
from report_fixture import CONTROL, make_run
from report_parts import LOADS

from pipelines.record.rounds import RoundRecord
from pipelines.report import pick
from pipelines.report.figures import draw, ecdf, rounds, scales, throughput
from pipelines.targets.registry import TARGETS

SLOTS = draw.slots(["torchserve", "tfserving", CONTROL, "null", "tflite"])


def parsed(svg: str | None) -> ET.Element:
    assert svg is not None
    return ET.fromstring(svg)  # noqa: S314


def titles(svg: str | None) -> list[str]:
    return [one.text or "" for one in parsed(svg).iter("title")]


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0.3, 13.0, [0.5, 1, 2, 5, 10]),
        (0.01, 90_000, [0.01, 0.1, 1, 10, 100, 1000, 10_000]),
        (4.1, 8.9, [5, 6, 7, 8]),
        (0.04, 0.06, [0.04, 0.045, 0.05, 0.055, 0.06]),
    ],
)
def test_ticks_of_a_logarithmic_axis_are_round(low: float, high: float, ticks: list[float]) -> None:
    assert scales.log_ticks(low, high) == pytest.approx(ticks)


@pytest.mark.parametrize("factor", [1.0, 2.0, 3.7, 11.0, 900.0, 4e6])
@pytest.mark.parametrize("low", [0.0123, 0.99, 7.7, 4321.0])
def test_an_axis_has_two_to_nine_ticks_inside(low: float, factor: float) -> None:
    ends = scales.log_domain([low, low * factor])
    ticks = scales.log_ticks(*ends)
    assert 2 <= len(ticks) <= 9
    assert all(ends[0] <= tick <= ends[1] for tick in ticks)


def test_linear_ticks() -> None:
    assert scales.linear_ticks(0, 4123) == [0, 1000, 2000, 3000, 4000]
    assert scales.linear_ticks(0, 0.9) == [0, 0.2, 0.4, 0.6, 0.8]


def test_scales_put_ends_at_ends() -> None:
    log, linear = scales.Log(1, 100, 0, 200), scales.Linear(0, 10, 100, 0)
    assert (log(1), log(10), log(100), log(0)) == pytest.approx((0, 100, 200, 0))
    assert (linear(0), linear(2.5), linear(10)) == (100, 75, 0)


def test_targets_keep_their_looks_whatever_else_is_measured() -> None:
    alone = draw.slots(["tfserving"])
    among = draw.slots(["x", "y", "torchserve", "tfserving", "null"])
    assert alone["tfserving"] == among["tfserving"]
    assert len(set(among.values())) == 5


def test_more_targets_than_looks_still_draw() -> None:
    names = [f"target{number}" for number in range(20)]
    assert set(draw.slots(names)) == set(names)


def summaries(load: str) -> dict[str, object]:
    served = pick.shown(make_run())
    return {name: pick.summary_of(target, load) for name, target in served.items()}


@pytest.mark.parametrize("load", LOADS)
def test_every_target_has_a_curve_and_two_marks(load: str) -> None:
    svg = parsed(ecdf.ecdf_plot(load, "e", summaries(load), SLOTS))
    classes = [one.get("class", "") for one in svg.iter("path")]
    assert sum(name.startswith("curve") for name in classes) == 3
    assert sum(name.startswith("mark") for name in classes) == 6


def test_curves_stay_inside_the_frame() -> None:
    svg = parsed(ecdf.ecdf_plot(LOADS[0], "e", summaries(LOADS[0]), SLOTS))
    frame = draw.Frame()
    curve = next(one.get("d", "") for one in svg.iter("path") if one.get("class", "").startswith("curve"))
    across = [float(part.split("V")[0]) for part in curve.split("H")[1:]]
    assert frame.left <= min(across) <= max(across) <= frame.right
    assert across == sorted(across)


def test_no_distribution_gives_no_plot() -> None:
    assert ecdf.ecdf_plot("closed:1", "e", {}, SLOTS) is None
    assert rounds.rounds_plot("closed:1", "r", [], SLOTS) is None
    assert throughput.throughput_plot({"closed:1": {"torchserve": None}}, "t", SLOTS) is None


def test_an_invalid_round_is_crossed_out_and_says_why() -> None:
    run = make_run()
    svg = rounds.rounds_plot("closed:8", "r", pick.rounds_of(run, "closed:8"), SLOTS)
    groups = [one.get("class") for one in parsed(svg).iter("g")]
    assert groups.count("round unused") == 1
    assert any("not used: 31% of the cores that serve" in title for title in titles(svg))
    assert sum(one.get("class") == "cross-out" for one in parsed(svg).iter("path")) == 2


def test_a_round_without_latencies_is_still_there() -> None:
    one = pick.rounds_of(make_run(), "closed:8")[0]
    empty = one.latency_ms.model_copy(update={"p50": None, "p99": None})
    broken: RoundRecord = one.model_copy(
        update={"latency_ms": empty, "valid": False, "invalid_reasons": (), "interrupted": True}
    )
    svg = rounds.rounds_plot("closed:8", "r", [broken], SLOTS)
    assert "not used: the round was interrupted" in titles(svg)[-1]
    assert sum(path.get("class") == "cross-out" for path in parsed(svg).iter("path")) == 1


def test_bars_are_as_long_as_their_figures() -> None:
    found = summaries("closed:8")
    svg = parsed(throughput.throughput_plot({"closed:8": found}, "t", SLOTS))
    lengths = [float(bar.get("width", "nan")) for bar in svg.iter("rect")]
    rates = [one.throughput_per_s for one in found.values()]
    assert [length / lengths[0] for length in lengths] == pytest.approx(
        [rate / rates[0] for rate in rates], rel=1e-3
    )


def test_a_missing_bar_is_a_dash_not_a_bar_of_no_length() -> None:
    loads = {"closed:8": summaries("closed:8") | {"tfserving": None}}
    svg = parsed(throughput.throughput_plot(loads, "t", SLOTS))
    assert len(list(svg.iter("rect"))) == 2
    assert any("no valid round" in (text.text or "") for text in svg.iter("text"))


def test_every_target_has_a_look_that_the_page_has_styles_for() -> None:
    found = draw.slots([*TARGETS, "null", "one", "two"])
    assert set(found.values()) <= set(range(draw.SLOTS))
    assert (found["torchserve"], found["tfserving"], found["null"]) == (0, 1, 5)
    assert draw.slots(["torchserve", "python", "null"])["python"] not in (0, 5)

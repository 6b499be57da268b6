"""The plot of size against accuracy: places, breaks, limits and names."""

import itertools
import xml.etree.ElementTree as ET

import pytest
from report_mobile_fixture import gate, make_mobile, mobile_artifact, mobile_artifacts, without_winner

from pipelines.record.mobile import MobileRecord
from pipelines.report.figures import broken, draw, front, labels

SLOTS = draw.slots(["tflite", "executorch", "onnx"])
KNOWN = [one for one in mobile_artifacts() if one.accuracy is not None]


def plot(mobile: MobileRecord) -> ET.Element:
    svg = front.front_plot(mobile, "front", SLOTS)
    assert svg is not None
    return ET.fromstring(svg)  # noqa: S314


def of_class(svg: ET.Element, name: str) -> list[ET.Element]:
    return [one for one in svg.iter() if name in (one.get("class") or "").split()]


def boxes(svg: ET.Element) -> dict[str, labels.Box]:
    """What each name covers, by the size of text that it was placed for."""
    found = [*of_class(svg, "name"), *of_class(svg, "limit-name")]
    return {
        one.text or "": labels.Place(
            one.text or "",
            float(one.get("x", "nan")),
            float(one.get("y", "nan")),
            one.get("text-anchor", "start"),
        ).box
        for one in found
    }


def texts(svg: ET.Element) -> list[str]:
    return [one.text or "" for one in svg.iter("text")]


def test_a_point_and_a_name_per_artifact_with_an_accuracy() -> None:
    svg = plot(make_mobile())
    assert len(of_class(svg, "artifact")) == len(of_class(svg, "name")) == len(KNOWN)
    assert not any("int8 portable" in text for text in texts(svg))


@pytest.mark.slow
def test_failures_are_crossed_out_and_the_choice_has_a_ring() -> None:
    assert len(of_class(plot(make_mobile()), "cross-out")) == 1
    assert len(of_class(plot(make_mobile()), "ring")) == 1
    svg = plot(without_winner())
    assert len(of_class(svg, "cross-out")) == len(KNOWN)
    assert not of_class(svg, "ring")


@pytest.mark.parametrize("mobile", [make_mobile(), without_winner()])
def test_no_name_covers_another_or_leaves_the_figure(mobile: MobileRecord) -> None:
    found = boxes(plot(mobile))
    for (one, first), (other, second) in itertools.combinations(found.items(), 2):
        assert first.overlap(second) == 0, (one, other)
    for text, box in found.items():
        assert box.left >= front.FRAME.left, text
        assert box.right <= front.FRAME.right, text


def test_the_front_runs_through_its_artifacts_and_never_falls() -> None:
    path = of_class(plot(make_mobile()), "pareto")[0].get("d", "")
    corners = [tuple(map(float, corner.split())) for corner in path.removeprefix("M").split("L")]
    across, down = zip(*corners, strict=True)
    assert list(across) == sorted(across)
    assert list(down) == sorted(down, reverse=True)
    assert across[-1] == front.FRAME.right
    assert len(corners) == 2 * sum(one.on_pareto_front for one in KNOWN)


def test_a_broken_artifact_does_not_squeeze_the_others() -> None:
    accuracies = [one.accuracy for one in KNOWN if one.accuracy]
    y = broken.broken(accuracies, 300, 0)
    good = [value for value in accuracies if value > 0.9]
    assert y.is_below(0.10556)
    assert not any(map(y.is_below, good))
    assert y(min(good)) - y(max(good)) > 100
    assert y(0.10556) > 300 - broken.BAND
    assert "int8 xnnpack 10.56\u202f%" in texts(plot(make_mobile()))


def test_without_a_broken_one_there_is_no_break() -> None:
    good = tuple(one for one in KNOWN if one.accuracy and one.accuracy > 0.9)
    assert of_class(plot(make_mobile()), "break")
    assert not of_class(plot(make_mobile(artifacts=good)), "break")


@pytest.mark.parametrize(
    ("values", "kept"),
    [
        ([0.986, 0.983, 0.1], [0.986, 0.983]),
        ([0.98, 0.95, 0.91], [0.98, 0.95, 0.91]),
        ([0.986, 0.5, 0.1], [0.986]),
        ([0.9, 0.9, 0.9], [0.9, 0.9, 0.9]),
        ([0.1], [0.1]),
    ],
)
def test_what_lies_together(values: list[float], kept: list[float]) -> None:
    assert broken.together(values) == kept


def test_equal_accuracies_still_have_an_axis() -> None:
    same = tuple(one.model_copy(update={"accuracy": 0.98611}) for one in KNOWN)
    ticks = [text for text in texts(plot(make_mobile(artifacts=same))) if text.endswith("%")]
    assert len(ticks) >= 2


@pytest.mark.slow
def test_limits_are_drawn_where_they_are() -> None:
    mobile = make_mobile(gate=gate(None, "none", max_bytes=40_000))
    upright = [one for one in of_class(plot(mobile), "limit") if one.get("x1") == one.get("x2")]
    level = [one for one in of_class(plot(mobile), "limit") if one.get("y1") == one.get("y2")]
    assert (len(upright), len(level)) == (1, 1)
    svg = plot(mobile)
    markers = [float(one.get("d", "").removeprefix("M").split()[0]) for one in of_class(svg, "mark")]
    left = [at for at in markers if at < float(upright[0].get("x1", "nan"))]
    assert len(left) == sum(one.size_bytes < 40_000 for one in KNOWN)


@pytest.mark.parametrize(
    ("limit", "text"),
    [(4_000_000, "gate: 4\u202fMB or less →"), (1000, "← gate: 1\u202fkB or less")],
)
def test_a_limit_far_off_is_named_and_squeezes_nothing(limit: int, text: str) -> None:
    svg = plot(make_mobile(gate=gate(None, "none", max_bytes=limit)))
    assert text in texts(svg)
    assert len(of_class(svg, "limit")) == 1


def test_no_accuracy_gives_no_plot() -> None:
    one = mobile_artifact("tflite", "int8", 900, None, 1.0)
    assert front.front_plot(make_mobile(artifacts=(one,)), "front", SLOTS) is None


def test_without_the_source_models_accuracy_there_is_no_limit_on_it() -> None:
    svg = plot(make_mobile(source_accuracy=None))
    assert not of_class(svg, "limit")
    assert not of_class(svg, "source")


def test_many_artifacts_of_one_size_keep_their_names_apart() -> None:
    crowd = tuple(
        mobile_artifact("executorch", "float32", 97_000 + 40 * n, 0.986, 1.0, variant=f"v{n}")
        for n in range(6)
    )
    found = boxes(plot(make_mobile(artifacts=crowd, gate=gate(None, "x"))))
    assert all(a.overlap(b) == 0 for a, b in itertools.combinations(found.values(), 2))

"""The gate and the Pareto front, on records made in code."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.config.mobile import MobileLimits, mobile_limits, parse_bytes
from pipelines.console import format as fmt
from pipelines.errors import GateError, RequestError
from pipelines.mobile import stage
from pipelines.mobile.front import on_front
from pipelines.mobile.gate import judge, refusals
from pipelines.record.mobile import MobileArtifactRecord, MobileGateRecord, MobileRecord, TimingRecord
from pipelines.record.reason import reason
from pipelines.record.run import RunRecord
from pipelines.report import mobile as report

SOURCE = 0.99


def timing(p50_ms):
    return TimingRecord.model_construct(threads_count=1, p50_ms=p50_ms)


def one(path, size_bytes, accuracy=SOURCE, *, p50_ms=1.0, **changes):
    fields = {
        "target": "tflite",
        "path": path,
        "size_bytes": size_bytes,
        "accuracy": accuracy,
        "samples_count": 450,
        "accuracy_drop": None if accuracy is None else round(SOURCE - accuracy, 9),
        "top1_agreement": accuracy,
        "timings": (timing(p50_ms),),
        "error": None,
    }
    return MobileArtifactRecord.model_construct(**fields | changes)


def judged(*artifacts, **limits):
    gate = MobileGateRecord(max_accuracy_drop=0, max_bytes=None, chosen=None, reason=reason("none_exported"))
    mobile = MobileRecord.model_construct(artifacts=artifacts, gate=gate, source_accuracy=SOURCE)
    return judge(mobile, MobileLimits(**limits))


def found(mobile):
    """Code and figures of every refusal."""
    return [(why.code, why.figures) for why in refusals(mobile)]


def test_the_smallest_that_passes_is_chosen_and_the_reason_says_why():
    mobile = judged(one("big.tflite", 100_000), one("small.tflite", 24_100, 0.988), one("bad.tflite", 9, 0.5))
    assert mobile.gate.chosen == "small.tflite"
    assert [artifact.passed for artifact in mobile.artifacts] == [True, True, False]
    assert mobile.gate.reason == reason("smallest", passed_count=2, artifacts_count=3)
    assert report.choice(mobile).replace(fmt.THIN, " ") == (
        "small.tflite, 24.1 kB, is the smallest of 2 that pass: accuracy 98.8 % (drop 0.0020, "
        "allowed 0.01), p50 1.00 ms with one thread on this host's CPU; rejected: bad.tflite (accuracy "
        "0.5000, the source model's is 0.9900: accuracy drop 0.4900, at most 0.01 is allowed)"
    )


def test_lost_accuracy_is_refused_with_metric_found_allowed_and_by_how_much():
    mobile = judged(one("good.tflite", 10), one("bad.tflite", 9, 0.5))
    assert mobile.gate.chosen == "good.tflite"
    figures = {"accuracy": 0.5, "accuracy_drop": 0.49, "limit": 0.01}
    assert mobile.artifacts[1].failures == (reason("accuracy_drop", **figures),)
    assert found(mobile) == [("accuracy_drop", figures | {"artifact": "tflite/bad.tflite"})]
    with pytest.raises(GateError, match=r"^tflite/bad\.tflite: accuracy 0\.5000, .* 0\.01 is allowed$"):
        stage.require_gate(RunRecord.model_construct(mobile=mobile))


def test_a_file_that_is_only_too_large_is_not_chosen_and_no_reason_to_say_no():
    mobile = judged(one("big", 5_000_000), one("small", 3_000_000), max_bytes=4_000_000)
    assert refusals(mobile) == ()
    assert mobile.gate.chosen == "small"
    assert mobile.artifacts[0].failures == (reason("too_large", size_bytes=5_000_000, limit_bytes=4_000_000),)
    assert report.failures(mobile.artifacts[0]).replace(fmt.THIN, " ") == (
        "size 5.00 MB, at most 4.00 MB is allowed: 1.00 MB too much"
    )


def test_none_small_enough_is_refused():
    mobile = judged(one("big", 5_000_000), max_bytes=4_000_000)
    assert found(mobile) == [("none_passes", {"passed_count": 0, "artifacts_count": 1})]
    with pytest.raises(GateError, match=r"^none of 1 artifacts passes: big \(size 5\.00 MB, at most 4"):
        stage.require_gate(RunRecord.model_construct(mobile=mobile))


def test_an_artifact_that_does_not_run_is_refused_and_never_chosen():
    broken = one("broken", 1, None, top1_agreement=None, timings=(), error="it does not load")
    mobile = judged(broken, one("good", 10))
    assert mobile.gate.chosen == "good"
    assert found(mobile) == [("not_run", {"error": "it does not load", "artifact": "tflite/broken"})]


def test_no_artifacts_at_all_are_refused():
    assert found(judged()) == [("none_exported", {})]


@pytest.mark.parametrize(("agreement", "passed"), [(0.99, True), (0.989, False)])
def test_without_labels_top1_agreement_decides(agreement, passed):
    mobile = judged(one("a", 1, None, top1_agreement=agreement))
    assert mobile.artifacts[0].passed is passed
    assert bool(refusals(mobile)) is not passed
    if not passed:
        figures = {"share": 0.989, "limit": 0.99, "artifact": "tflite/a"}
        assert found(mobile) == [("top1_agreement", figures), ("none_left", {})]


def test_a_drop_of_exactly_the_limit_passes_and_a_gain_passes():
    mobile = judged(one("a", 1, SOURCE - 0.01), one("b", 2, 1.0), one("c", 3, SOURCE - 0.0101))
    assert [artifact.passed for artifact in mobile.artifacts] == [True, True, False]


def test_a_file_of_exactly_the_limit_passes():
    assert judged(one("a", 4_000_000), max_bytes=4_000_000).gate.chosen == "a"


TIED = [
    (one("z", 5), one("a", 6)),
    (one("z", 5, 0.99), one("a", 5, 0.985)),
    (one("z", 5, p50_ms=1), one("a", 5, p50_ms=2)),
    (one("z", 5, p50_ms=1), one("a", 5, p50_ms=None)),
    (one("a", 5), one("z", 5)),
]


@pytest.mark.parametrize(("first", "second"), TIED)
def test_ties_go_by_accuracy_then_speed_then_name(first, second):
    for order in itertools.permutations((first, second)):
        assert judged(*order).gate.chosen == first.path


def test_judging_again_with_other_limits_forgets_the_first_verdict():
    strict = judged(one("a", 10, 0.985), max_accuracy_drop=0.0)
    assert not strict.artifacts[0].passed
    assert judge(strict, MobileLimits()).artifacts[0].passed


points = st.lists(
    st.tuples(st.integers(1, 6), st.one_of(st.none(), st.sampled_from([0.5, 0.7, 0.9]))), max_size=7
)


@given(points)
def test_the_front_is_what_a_double_loop_leaves(given_points):
    for index, (size, accuracy) in enumerate(given_points):
        beaten = accuracy is None
        for other_size, other in given_points:
            if accuracy is None or other is None:
                continue
            if (other_size < size and other >= accuracy) or (other_size <= size and other > accuracy):
                beaten = True
        assert on_front(given_points)[index] is not beaten


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("4MB", 4_000_000),
        ("4MiB", 4_194_304),
        ("500kB", 500_000),
        ("500 KB", 500_000),
        ("1.5mb", 1_500_000),
        ("80000", 80_000),
        ("80000B", 80_000),
        ("2KiB", 2048),
        ("1GB", 10**9),
        ("1GiB", 2**30),
    ],
)
def test_sizes_are_read(text, size):
    assert parse_bytes(text) == size


@pytest.mark.parametrize(
    "text", ["", "MB", "-4MB", "0", "0MB", "4 M B", "4TB", "four", "4MB8", "1e6", "nan", "0.1B"]
)
def test_other_sizes_are_wrong_requests_that_say_what_is_allowed(text):
    with pytest.raises(
        RequestError, match=r"--max-bytes is .*; allowed: a number from 1 to 10\^18, alone or with B, kB"
    ):
        parse_bytes(text)


@pytest.mark.parametrize("drop", [-0.1, 1.1, float("nan"), float("inf")])
def test_a_drop_that_is_no_share_is_a_wrong_request(drop):
    with pytest.raises(RequestError, match=r"--max-accuracy-drop is .*; a share from 0 to 1 is allowed"):
        mobile_limits(drop, None)


def test_a_float32_artifact_outside_tolerance_never_ships_however_accurate():
    outside = reason("outside_tolerance", sample=3)
    mobile = judged(one("wrong", 10, mismatch=outside), one("right", 99))
    assert mobile.gate.chosen == "right"
    assert found(mobile) == [("outside_tolerance", {"sample": 3, "artifact": "tflite/wrong"})]


@pytest.mark.parametrize(("error", "passed"), [(0.2, True), (0.21, False), (1.7976931348623157e308, False)])
def test_a_reduced_precision_keeps_its_output_error_whatever_its_accuracy(error, passed):
    mobile = judged(one("int8", 10, output_error=error, max_output_error=0.2))
    assert mobile.artifacts[0].passed is passed
    assert bool(refusals(mobile)) is not passed


def test_outputs_that_choose_nothing_are_judged_and_ranked_by_their_error():
    fields = {"accuracy": None, "top1_agreement": None, "max_output_error": 0.1}
    near, far = one("near", 10, output_error=0.01, **fields), one("far", 10, output_error=0.05, **fields)
    mobile = judged(far, near, one("gone", 5, output_error=0.3, **fields))
    assert mobile.gate.chosen == "near"
    assert [why.figures["artifact"] for why in refusals(mobile)] == ["tflite/gone"]
    assert "accuracy" not in report.choice(mobile)

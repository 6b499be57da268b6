"""What each kind of output is held to: classes, tokens, regression, whole numbers, none; and several."""

import dataclasses

import numpy as np
import pytest

from models.digits_cnn import MODEL
from models.signature import TensorSpec
from models.spec import Samples, Tolerance
from models.tensors import stacked
from pipelines.config.mobile import MobileLimits
from pipelines.errors import GateError
from pipelines.mobile.gate import judge, refusals
from pipelines.parity import agreement as parity
from pipelines.parity.quality import Expectations, expectations_of
from pipelines.record.mobile import MobileArtifactRecord, MobileGateRecord, MobileRecord
from pipelines.record.reason import reason
from pipelines.report.mobile import refusal

DRAW = np.random.default_rng(5)
START = DRAW.bit_generator.state
COUNT = 120
TIGHT = Tolerance(1e-4, 1e-4)
PRECISIONS = ("float32", "float16", "int8")


@pytest.fixture(autouse=True)
def draws_from_the_start():
    """Give every test the same draws, whichever tests ran before it."""
    DRAW.bit_generator.state = START


def expectations(outputs, labels=None, **changes):
    """What artifacts of a model with these outputs are held to; what is said is said by output name."""
    shapes = {name: np.asarray(array[0]).shape for name, array in outputs.items()}
    ragged = {name for name, array in outputs.items() if array.dtype == object}
    signature = tuple(
        TensorSpec(
            name,
            str(np.asarray(array[0]).dtype),
            (None, *((None, *shapes[name][1:]) if name in ragged else shapes[name])),
        )
        for name, array in outputs.items()
    )
    fields = {"labels": {}, "tolerance": TIGHT, "outputs": signature} | changes
    spec = dataclasses.replace(MODEL, **fields)
    inputs = np.zeros((len(next(iter(outputs.values()))), 8, 8, 1), np.float32)
    return expectations_of(spec, Samples(inputs, labels or {}), outputs)


def floats(*shape, scale=1.0):
    return (DRAW.normal(size=(COUNT, *shape)) * scale).astype(np.float32)


def near(outputs, by):
    """The same with noise of `by` standard deviations."""
    return outputs + (outputs.std() * by * DRAW.normal(size=outputs.shape)).astype(outputs.dtype)


def compare(got, expected, precision="float32"):
    return parity.compare_all("it", got, expected, precision)


def on_mobile(record):
    """The gate's words about an artifact with that parity, empty if it may ship."""
    one = MobileArtifactRecord.model_construct(
        target="tflite",
        path="m.tflite",
        size_bytes=1,
        samples_count=record.samples_count,
        accuracy=record.accuracy,
        accuracy_drop=record.accuracy_drop,
        top1_agreement=record.top1_agreement,
        output_error=record.output_error,
        max_output_error=record.max_output_error,
        mismatch=None
        if record.passed or record.absolute_tolerance is None
        else next(iter(parity.differences(record))),
        outputs=record.outputs or (record,),
        timings=(),
        error=None,
    )
    gate = MobileGateRecord(max_accuracy_drop=0, max_bytes=None, chosen=None, reason=reason("none_exported"))
    mobile = judge(MobileRecord.model_construct(artifacts=(one,), gate=gate), MobileLimits())
    assert (mobile.gate.chosen is not None) == mobile.artifacts[0].passed
    return "; ".join(refusal(mobile, why) for why in refusals(mobile))


# A regression with one column: the first choice of one column says nothing.


@pytest.mark.parametrize("labelled", [True, False])
@pytest.mark.parametrize("precision", ["int8", "float16"])
def test_an_int8_regression_that_answers_the_mean_fails_everywhere(labelled, precision):
    price = floats(1, scale=50)
    labels = {"price": price + floats(1)} if labelled else None
    expected = expectations({"price": price}, labels, task={"price": "regression"})
    got = {"price": np.full_like(price, price.mean())}
    record = compare(got, expected, precision)
    assert not record.passed
    assert record.top1_agreement is record.accuracy is None
    assert "output error 1 of the source model's standard deviation" in on_mobile(record)


def test_one_answer_of_a_regression_that_is_far_off_is_too_many():
    price = floats(1, scale=10)
    expected = expectations({"price": price}, {"price": price + floats(1)}, task={"price": "regression"})
    got = price.copy()
    got[7] += 9
    record = compare({"price": got}, expected, "int8")
    assert record.output_error < record.max_output_error
    assert not record.passed
    assert record.spread_error == pytest.approx(9 / np.ptp(expected.primary.targets), rel=1e-3)
    said = parity.explain(record)
    assert said.startswith("it is not the source model: largest error 0.")
    assert "of the range of its targets, at most 0.1 is allowed" in said
    assert "largest error" in on_mobile(record)


@pytest.mark.parametrize(("by", "precision", "passed"), [(0.02, "int8", True), (0.02, "float16", False)])
def test_a_good_regression_passes_in_int8_and_float16_is_held_to_more(by, precision, passed):
    price = floats(1, scale=10)
    expected = expectations({"price": price}, {"price": price}, task={"price": "regression"})
    record = compare({"price": near(price, by)}, expected, precision)
    assert record.passed is passed
    assert bool(on_mobile(record)) is not passed


def test_of_several_quantities_the_one_with_the_small_range_counts():
    both = floats(2) * np.float32([1000, 1])
    expected = expectations({"y": both}, {"y": both}, task={"y": "regression"})
    got = both + np.float32([0, 2])
    assert compare({"y": got}, expected, "int8").spread_error == pytest.approx(
        2 / np.ptp(both[:, 1]), rel=1e-3
    )


# Images and other outputs that are neither.


@pytest.mark.parametrize("shape", [(1, 8, 8), (6, 4)])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_an_autoencoder_at_error_zero_passes_in_every_precision(shape, precision):
    image = floats(*shape)
    image[..., 0] = 0.5  # a border that never changes
    expected = expectations({"image": image}, task={"image": "none"})
    parity.require_spreads(expected)
    record = compare({"image": image}, expected, precision)
    assert record.passed
    assert record.output_error == 0
    assert on_mobile(record) == ""


@pytest.mark.parametrize(
    ("by", "precision", "passed"),
    [(0.001, "float32", False), (0.001, "float16", True), (0.05, "int8", True), (0.3, "int8", False)],
)
def test_an_autoencoder_in_a_reduced_precision_is_not_held_to_the_float32_tolerance(by, precision, passed):
    image = floats(1, 8, 8)
    image[..., 0] = 0.5
    record = compare({"image": near(image, by)}, expectations({"image": image}), precision)
    assert record.passed is passed
    assert bool(on_mobile(record)) is not passed


# A class at every position.


def tokens(scores=None, **changes):
    scores = floats(9, 5) if scores is None else scores
    labels = scores.argmax(axis=-1)
    labels[:, 0] = (labels[:, 0] + 1) % 5
    labels[:, 8] = -100
    return expectations({"tags": scores}, {"tags": labels}, **changes)


def test_tokens_are_counted_by_position_and_padding_is_not():
    expected = tokens()
    assert expected.primary.task == "tokens"
    assert expected.source_accuracy == pytest.approx(7 / 8)
    got = expected.primary.outputs.copy()
    got[:, 1] = got[:, 1][:, ::-1]
    agreement = (got.argmax(-1) == expected.primary.outputs.argmax(-1)).mean()
    record = compare({"tags": got}, expected, "int8")
    assert record.top1_agreement == pytest.approx(agreement)
    assert not record.passed
    assert "accuracy drop" in on_mobile(record)


def test_tokens_without_labels_are_held_to_the_source_models_own():
    scores = floats(9, 5)
    expected = expectations({"tags": scores}, task={"tags": "tokens"})
    good, bad = scores * np.float32(1.01), scores.copy()
    bad[:3] = -bad[:3]
    assert compare({"tags": good}, expected, "int8").passed
    record = compare({"tags": bad}, expected, "int8")
    assert "agreement 0.97" in on_mobile(record) or "agreement 0.98" in on_mobile(record)
    assert compare({"tags": bad}, expected, "int8").accuracy is None


def test_sentences_of_different_lengths_are_compared_position_by_position():
    scores = [DRAW.normal(size=(3 + n % 4, 5)).astype(np.float32) for n in range(COUNT)]
    labels = [one.argmax(axis=-1) for one in scores]
    expected = expectations({"tags": stacked(scores)}, {"tags": labels}, task={"tags": "tokens"})
    parity.require_spreads(expected)
    assert expected.source_accuracy == 1
    assert compare({"tags": stacked(scores)}, expected).passed
    wrong = [one.copy() for one in scores]
    wrong[5][2, 4] += 1
    record = compare({"tags": stacked(wrong)}, expected)
    assert "sample 5, output [2, 4]: expected" in parity.explain(record)
    cut = [*scores[:7], scores[7][:2], *scores[8:]]
    with pytest.raises(GateError, match=r"gives an output 'tags' of shape \(2, 5\) for sample 7, the source"):
        compare({"tags": stacked(cut)}, expected)


# Whole numbers and truth values.


@pytest.mark.parametrize(
    "values",
    [DRAW.integers(0, 9, COUNT), DRAW.integers(0, 2**62, COUNT), DRAW.integers(0, 2, (COUNT, 3)) > 0],
)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_whole_numbers_are_the_same_or_wrong_whatever_the_tolerance(values, precision):
    expected = expectations({"n": values}, tolerance=Tolerance(50.0, 0.9))
    assert expected.primary.tolerance == Tolerance(0.0, 0.0)
    record = compare({"n": values}, expected, precision)
    assert (record.passed, record.top1_agreement) == (True, 1.0)
    wrong = values.copy()
    wrong[:2] = wrong[:2] ^ 1 if values.dtype != bool else ~wrong[:2]
    record = compare({"n": wrong}, expected, precision)
    assert not record.passed
    assert record.top1_agreement == pytest.approx(1 - 2 / COUNT)
    assert on_mobile(record)


def test_whole_numbers_may_be_given_a_tolerance_by_name():
    counts = DRAW.integers(0, 100, (COUNT, 1))
    expected = expectations({"n": counts}, tolerance={"n": Tolerance(1.0, 0.0)}, task={"n": "regression"})
    assert compare({"n": counts + 1}, expected).passed
    assert not compare({"n": counts + 2}, expected).passed


def test_the_explanation_of_a_whole_number_is_one():
    values = DRAW.integers(10, 90, COUNT)
    expected = expectations({"n": values})
    got = {"n": values + (np.arange(COUNT) == 3)}
    said = parity.explain(compare(got, expected))
    assert f"sample 3, output : expected {values[3]}, got {values[3] + 1} (allowed ±0)" in said


# Several outputs.


def two(mask=None):
    scores, price = floats(3), floats(1, scale=10)
    outputs = {"scores": scores, "price": price} | ({} if mask is None else {"mask": mask})
    labels = {"scores": scores.argmax(axis=1), "price": price}
    return outputs, expectations(outputs, labels)


def test_every_output_has_to_pass_and_the_worst_is_told_by_name():
    outputs, expected = two()
    assert [one.task for one in expected] == ["classes", "regression"]
    whole = compare(outputs, expected)
    assert whole.passed
    assert [one.output for one in whole.outputs] == ["scores", "price"]
    got = outputs | {"price": outputs["price"] + np.float32(1)}
    record = compare(got, expected)
    assert not record.passed
    assert [one.passed for one in record.outputs] == [True, False]
    assert record.max_abs_error == pytest.approx(1, rel=1e-3)
    said = parity.explain(record)
    assert said.startswith("it is not the source model: output 'price': sample ")
    with pytest.raises(GateError, match="output 'price'"):
        parity.require(record)


def test_the_gate_judges_each_output_by_its_own_task():
    outputs, expected = two()
    good = {"scores": near(outputs["scores"], 1e-3), "price": near(outputs["price"], 0.01)}
    assert on_mobile(compare(good, expected, "int8")) == ""
    flat = good | {"price": np.zeros_like(outputs["price"])}
    record = compare(flat, expected, "int8")
    assert not record.passed
    assert "output 'price': output error" in on_mobile(record)
    assert record.accuracy == record.outputs[0].accuracy


def test_a_missing_output_is_named():
    outputs, expected = two()
    with pytest.raises(GateError, match="it gives no output 'price'; it gives 'scores'"):
        compare({"scores": outputs["scores"]}, expected)


# Which samples show a difference.


@pytest.mark.parametrize("mask", [np.ones((COUNT, 4), np.bool_), np.full((COUNT, 4), 0.5, np.float32)])
def test_an_output_that_never_changes_is_no_reason_to_refuse_the_others(mask):
    outputs, expected = two(mask)
    parity.require_spreads(expected)
    wrong = outputs | {"mask": ~mask if mask.dtype == bool else mask + 1}
    assert not compare(wrong, expected).passed


def test_an_output_that_hardly_changes_is_refused_by_name_whatever_the_others_do():
    _, expected = two(floats(4) * np.float32(1e-5))
    with pytest.raises(GateError, match="the source model's outputs 'mask' differ by"):
        parity.require_spreads(expected)


def test_outputs_that_all_never_change_are_refused():
    expected = expectations({"a": np.ones((COUNT, 2), np.float32), "b": np.ones((COUNT, 2), np.bool_)})
    with pytest.raises(GateError, match="outputs 'a' differ by 0 between 120 samples"):
        parity.require_spreads(expected)


def test_a_flag_that_is_rarely_set_is_a_difference():
    flag = np.arange(COUNT)[:, None] % 20 == 0
    parity.require_spreads(expectations({"flag": flag}))


def test_expectations_of_the_first_samples_are_of_every_output():
    _, expected = two()
    few = expected.first(7)
    assert isinstance(few, Expectations)
    assert [len(array) for array in few.tensors.values()] == [7, 7]
    assert len(few) == 7
    assert len(few.by_output["price"].targets) == 7

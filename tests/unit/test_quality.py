import dataclasses

import numpy as np
import pytest

from models.digits_cnn import MODEL
from models.spec import Samples, TensorSpec, Tolerance
from pipelines.parity.quality import WORST, Expectation, absolute_error, expectations_of, kappa_z

DRAW = np.random.default_rng(11)
START = DRAW.bit_generator.state
COUNT = 200
TIGHT = Tolerance(1e-6, 1e-6)


@pytest.fixture(autouse=True)
def draws_from_the_start():
    """Give every test the same draws, whichever tests ran before it."""
    DRAW.bit_generator.state = START


def spec_of(columns, **changes):
    output = (TensorSpec("y", "float32", (None, columns)),)
    return dataclasses.replace(MODEL, outputs=output, labels=(), tolerance=TIGHT, **changes)


def expected(outputs, labels, **changes):
    outputs = np.asarray(outputs, np.float32)
    samples = Samples(np.zeros((len(outputs), 8, 8, 1), np.float32), labels)
    return expectations_of(spec_of(outputs.shape[1], **changes), samples, {"y": outputs}).primary


def test_of_the_first_outputs_alone_the_task_is_derived_from_their_labels_alone():
    labels = np.arange(COUNT) % 4
    samples = Samples(np.zeros((COUNT, 8, 8, 1), np.float32), labels)
    outputs = np.eye(4, dtype=np.float32)[labels[:20]]
    found = expectations_of(spec_of(4), samples, {"y": outputs}).primary
    assert (found.task, found.labels.tolist(), found.accuracy(outputs)) == (
        "classes",
        labels[:20].tolist(),
        1,
    )


@pytest.mark.parametrize(("probabilities", "threshold"), [(True, 0.5), (False, 0.0)])
def test_a_single_column_chooses_by_the_threshold_of_its_range(probabilities, threshold):
    logits = DRAW.normal(size=(COUNT, 1))
    labels = (logits[:, 0] > 0).astype(np.int64)
    outputs = 1 / (1 + np.exp(-logits)) if probabilities else logits
    found = expected(outputs, labels)
    assert (found.task, found.threshold) == ("classes", threshold)
    assert found.accuracy(found.outputs) == 1
    constant = np.full_like(found.outputs, 0.4)
    assert found.accuracy(constant) == pytest.approx(((threshold < 0.4) == labels).mean())


def test_the_threshold_is_that_of_all_samples_however_few_are_asked():
    logits = np.float32([[0.2], [0.9], [-3], [4]])
    found = Expectation(logits, np.array([1, 1, 0, 1]), TIGHT)
    assert found.first(2).threshold == 0
    assert found.first(2).accuracy(logits[:2]) == 1


def test_labels_that_the_source_model_does_not_know_are_no_classes():
    boxes = DRAW.normal(size=(COUNT, 4))
    for labels in (np.zeros(COUNT, np.int64), DRAW.integers(0, 4, COUNT)):
        found = expected(boxes, labels)
        assert found.task == "none"
        assert found.labels is None
        assert found.accuracy(found.outputs) is found.agreement(found.outputs) is None


def test_a_declared_task_is_not_derived():
    boxes = DRAW.normal(size=(COUNT, 4))
    found = expected(boxes, np.zeros(COUNT, np.int64), task="classes")
    assert found.accuracy(found.outputs) == (boxes.argmax(axis=1) == 0).mean()
    assert expected(boxes, boxes.argmax(axis=1), task="none").accuracy(found.outputs) is None


def test_labels_on_few_of_one_class_are_classes_if_the_source_model_finds_these():
    labels = (np.arange(COUNT) % 20 == 0).astype(np.int64)
    right = np.eye(2)[labels] * 5
    right[:6] = right[:6, ::-1]
    assert expected(right, labels).task == "classes"
    assert expected(np.tile([5.0, 0], (COUNT, 1)), labels).task == "none"


def test_kappa_is_the_agreement_beyond_chance():
    one, other = np.array([0] * 50 + [1] * 50), np.array([0, 1] * 50)
    assert kappa_z(one, other) == 0
    assert kappa_z(one, one) == pytest.approx(0.5 / np.sqrt(0.25 / 100))


def test_targets_make_a_regression_with_its_error():
    outputs = DRAW.normal(size=(COUNT, 4))
    found = expected(outputs, outputs + 0.25)
    assert found.task == "regression"
    assert found.target_rmse(found.outputs) == pytest.approx(0.25, rel=1e-5)
    assert found.first(7).target_rmse(found.outputs[:7]) == pytest.approx(0.25, rel=1e-5)


def test_always_answering_the_mean_is_an_error_of_one_and_a_shift_is_its_share():
    outputs = DRAW.normal(3, 2, size=(COUNT, 4))
    found = expected(outputs, outputs)
    mean = np.broadcast_to(found.outputs.mean(axis=0), outputs.shape)
    assert found.output_error(mean) == pytest.approx(1, rel=1e-4)
    assert found.output_error(found.outputs) == 0


def test_of_quantities_the_worst_column_counts_and_of_scores_all_together():
    outputs = DRAW.normal(size=(COUNT, 2)) * [100, 1]
    got = outputs + np.array([0, 1])
    quantities = expected(outputs, outputs)
    assert quantities.output_error(got) == pytest.approx(1 / outputs[:, 1].std(), rel=1e-3)
    scores = expected(outputs, outputs.argmax(axis=1))
    pooled = np.sqrt(np.square(outputs - outputs.mean(axis=0)).mean())
    assert scores.output_error(got) == pytest.approx(np.sqrt(0.5) / pooled, rel=1e-3)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_beyond_measure(bad):
    outputs = DRAW.normal(size=(COUNT, 3))
    found = expected(outputs, outputs)
    got = found.outputs.copy()
    got[5, 1] = bad
    assert found.output_error(got) == WORST
    assert found.target_rmse(got) == WORST


def test_a_column_that_never_changes_is_measured_by_the_tolerance():
    outputs = np.column_stack([DRAW.normal(size=COUNT), np.zeros(COUNT)])
    found = expected(outputs, outputs)
    assert found.output_error(outputs + np.array([0, 1e-6])) == pytest.approx(0.01, rel=0.1)


@pytest.mark.parametrize("dtype", ["int64", "float64"])
def test_whole_numbers_beyond_what_a_float_tells_apart_are_the_same_or_not(dtype):
    wanted = np.array([2**60, 2**60 + 1, -3, 7], np.int64)
    got = np.array([2**60, 2**60, -3, 8], dtype)
    assert absolute_error(got, wanted).tolist() == [0, 1, 0, 1]


def test_a_float_that_is_no_whole_number_is_as_far_off_as_it_is():
    got = np.array([2.5, np.nan, 1e300, 1.0])
    assert absolute_error(got, np.array([3, 3, 3, 1])).tolist() == [0.5, WORST, 1e300, 0]
    assert absolute_error(np.array([1.0, 0.0]), np.array([True, True])).tolist() == [0, 1]

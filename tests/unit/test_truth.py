import numpy as np
import pytest

from models.signature import TensorSpec
from models.spec import ModelError
from models.truth import truth_of


def truth(given, shape, names=(), task=None, count=None):
    given = np.asarray(given)
    output = TensorSpec("y", "float32", (None, *shape))
    return truth_of("m", given, len(given) if count is None else count, output, names, task)


@pytest.mark.parametrize("given", [[0, 1, 1], [[0], [1], [1]], [0.0, 1.0, 1.0], [False, True, True]])
@pytest.mark.parametrize("shape", [(1,), ()])
def test_zeros_and_ones_are_classes_of_a_single_column(given, shape):
    found = truth(given, shape)
    assert found.labels.tolist() == [0, 1, 1]
    assert found.targets is None


def test_any_other_value_of_a_single_column_is_a_target():
    found = truth([0.5, 3, 7], (1,))
    assert found.labels is None
    assert found.targets.shape == (3, 1)
    assert truth([4, 3, 7], ()).targets.shape == (3,)
    assert truth([0, 1], (1,), task="regression").targets.tolist() == [[0], [1]]


def test_integers_are_classes_and_floats_in_the_outputs_shape_are_targets():
    assert truth([2, 0], (3,)).labels.tolist() == [2, 0]
    assert truth(np.ones((2, 3)), (3,)).targets.dtype == np.float32
    assert truth(np.ones((2, 3), int), (3,)).targets.shape == (2, 3)
    assert truth(np.ones((2, 5, 3)), (None, 3)).targets.shape == (2, 5, 3)


@pytest.mark.parametrize(("given", "task"), [([], None), ([1, 2], "none")])
def test_nothing_is_known_without_labels_or_where_none_are_meant(given, task):
    found = truth(given, (3,), task=task)
    assert found.labels is found.targets is None


@pytest.mark.parametrize(
    ("given", "shape", "names", "task", "said"),
    [
        ([0, 3], (3,), (), None, "3 classes, its samples have labels from 0 to 3; whole numbers from 0 to 2"),
        ([-1, 0], (3,), (), None, "labels from -1"),
        ([0, 5], (1,), ("no", "yes"), None, "2 classes"),
        ([0.5, 1], (1,), (), "classes", "2 classes"),
        ([0.5, 1.0], (3,), (), None, r"float64 of shape (2,); allowed: floats ('n', 3) or integers (n,)"),
        ([[1.0, 2], [3, 4]], (3,), (), None, "shape (2, 2)"),
        (np.ones((2, 3)), (3,), (), "classes", "allowed: integers (n,)"),
        ([1, 2], (3,), (), "regression", "shape (2,)"),
        ([[0, 1], [1, 0]], (1,), (), None, "its samples have 2 labels each"),
        ([np.nan, 1.0], (1,), (), None, "finite numbers"),
        (["cat", "dog"], (3,), (), None, "finite numbers"),
    ],
)
def test_labels_that_do_not_fit_are_refused(given, shape, names, task, said):
    with pytest.raises(ModelError) as caught:
        truth(given, shape, names, task)
    assert said in str(caught.value)


def tokens(given, shape=(None, 4), task=None, dtype="float32", names=()):
    return truth_of("m", given, len(given), TensorSpec("y", dtype, (None, *shape)), names, task)


def test_a_class_at_every_position_is_known_by_its_shape():
    assert tokens(np.array([[0, 3, 1], [2, 2, -100]])).labels.tolist() == [[0, 3, 1], [2, 2, -100]]
    ragged = tokens([np.array([0, 1]), np.array([3])])
    assert [one.tolist() for one in ragged.labels] == [[0, 1], [3]]
    assert tokens(np.array([[7, 1]]), shape=(None,), task="tokens", dtype="int64").labels.tolist() == [[7, 1]]
    assert tokens(np.ones((2, 3, 4))).targets.shape == (2, 3, 4)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            [[0, 4]],
            "4 classes, its samples have labels from 0 to 4; whole numbers from 0 to 3, and -100 for a",
        ),
        ([[0, -1]], "labels from -1 to 0"),
        ([[[0]]], "shape (1, 1) per sample, one class per position is needed: (None,)"),
    ],
)
def test_labels_that_are_no_classes_of_positions_are_refused(given, said):
    with pytest.raises(ModelError) as caught:
        tokens(np.array(given), task="tokens")
    assert said in str(caught.value)


def test_a_whole_number_is_a_class_of_as_many_as_there_are_names():
    assert tokens(np.array([0, 7]), shape=(), dtype="int64", task="classes").labels.tolist() == [0, 7]
    with pytest.raises(ModelError, match="2 classes"):
        tokens(np.array([0, 7]), shape=(), dtype="int64", task="classes", names=("no", "yes"))


def test_every_sample_needs_its_label():
    with pytest.raises(ModelError, match="3 sample inputs for 2 labels"):
        truth([0, 1], (3,), count=3)

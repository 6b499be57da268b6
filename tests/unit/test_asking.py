"""How artifacts are asked: in which batches, and under which names their answers come back."""

from pathlib import Path

import numpy as np
import pytest

from models import tensors
from pipelines.errors import GateError
from pipelines.targets.asking import BATCH, ask_in_batches, ask_one_by_one, contiguous, matched, named

FILE = Path("some.file")


def ragged(*lengths):
    return tensors.stacked([np.arange(length, dtype=np.int64) for length in lengths])


def test_the_first_sample_is_asked_alone_and_the_others_in_batches():
    seen = []

    def call(batch):
        seen.append(len(batch["x"]))
        return {"y": batch["x"] * 2}

    inputs = {"x": np.arange(BATCH + 3, dtype=np.float32)}
    answers = ask_in_batches(FILE, call, inputs)
    assert seen == [1, BATCH, 2]
    np.testing.assert_array_equal(answers["y"], inputs["x"] * 2)


def test_samples_of_different_lengths_are_asked_by_length_and_come_back_in_order():
    shapes = []

    def call(batch):
        shapes.append(batch["tokens"].shape)
        return {"sum": batch["tokens"].sum(axis=1), "same": batch["tokens"]}

    answers = ask_in_batches(FILE, call, {"tokens": ragged(3, 5, 2, 5)})
    assert shapes == [(1, 3), (2, 5), (1, 2)]
    assert answers["sum"].tolist() == [3, 10, 1, 10]
    assert [len(one) for one in answers["same"]] == [3, 5, 2, 5]


@pytest.mark.parametrize("answer", [np.zeros((1, 3)), np.zeros(())])
def test_an_answer_without_a_row_per_sample_is_refused(answer):
    with pytest.raises(GateError, match=r"some\.file gives 'y' of shape .* for a batch of 2"):
        ask_in_batches(
            FILE,
            lambda batch: {"y": answer if len(batch["x"]) == 2 else np.zeros((1, 3))},
            {"x": np.ones((3, 1))},
        )


def test_a_device_is_asked_one_sample_after_the_other():
    class Model:
        def set_inputs(self, sample):
            self.given = sample

        def invoke(self):
            self.answer = self.given["a"] + self.given["b"]

        def outputs(self):
            return {"sum": self.answer}

    answers = ask_one_by_one(Model(), {"a": np.ones((4, 2)), "b": np.arange(4)[:, None]})
    np.testing.assert_array_equal(answers["sum"], np.arange(4)[:, None] + np.ones((4, 2)))


def test_outputs_are_named_by_position_or_by_the_files_own_names():
    assert named(FILE, [1, 2], ["u", "v"]) == {"u": 1, "v": 2}
    assert list(named(FILE, {"v": 2, "u": 1}, ["u", "v"]).items()) == [("u", 1), ("v", 2)]
    assert named(FILE, 5, ["only"]) == {"only": 5}
    assert named(FILE, {"whatever": 5}, ["only"]) == {"only": 5}


@pytest.mark.parametrize(
    ("values", "names", "said"),
    [
        ([1, 2], ["only"], "gives 2 outputs; the model has 1: only"),
        (1, ["u", "v"], "gives 1 outputs; the model has 2: u, v"),
        ({"u": 1, "w": 2}, ["u", "v"], "has the outputs u, w; the model has u, v"),
    ],
)
def test_other_outputs_are_refused_by_name(values, names, said):
    with pytest.raises(GateError, match=said):
        named(FILE, values, names)


def test_inputs_are_matched_by_name_and_a_single_one_by_being_the_only_one():
    assert matched(FILE, "input", ["b", "a"], {"a": 0, "b": 0}) == {"a": "a", "b": "b"}
    assert matched(FILE, "input", ["image"], {"serving_default_x:0": 0}) == {"image": "serving_default_x:0"}
    with pytest.raises(GateError, match="has the inputs none; the model has image"):
        matched(FILE, "input", ["image"], {})


@pytest.mark.parametrize(
    "given",
    [
        {"file": np.ones((3, 2), np.float16), "all": np.array([True, False, True])},
        {"tokens": ragged(1, 4, 2), "scale": np.ones(3)},
        {"a": np.zeros((0, 3), np.uint8)},
    ],
)
def test_tensors_survive_a_file(tmp_path, given):
    tensors.save(tmp_path / "t.npz", given)
    back = tensors.load(tmp_path / "t.npz")
    assert list(back) == list(given)
    for name, array in given.items():
        assert (back[name].dtype, back[name].shape) == (array.dtype, array.shape)
        for one, other in zip(array, back[name], strict=True):
            np.testing.assert_array_equal(one, other)
            assert np.asarray(one).dtype == np.asarray(other).dtype


def test_a_sample_becomes_a_batch_of_one_in_memory_of_its_own_also_a_lone_number():
    rows = np.arange(6).reshape(2, 3)
    given = {"user": np.arange(5)[2], "day": np.array(3, np.int8), "rows": rows.T}
    alone = contiguous(given)
    assert {name: array.shape for name, array in alone.items()} == {
        "user": (1,),
        "day": (1,),
        "rows": (1, 3, 2),
    }
    assert alone["rows"].flags.c_contiguous
    assert not np.shares_memory(alone["rows"], rows)

"""Floats to a file's integers and back, and which operations a delegate stands for. No framework needed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.errors import GateError
from pipelines.targets.tflite.runtime import delegated_operations, dequantise, open_model, predict, quantise

DTYPES = st.sampled_from([np.int8, np.int16, np.uint8])


@st.composite
def tensors(draw):
    dtype = draw(DTYPES)
    limits = np.iinfo(dtype)
    scale = draw(st.floats(1e-6, 1e3))
    return {"dtype": dtype, "quantization": (scale, draw(st.integers(int(limits.min), int(limits.max))))}


@given(tensors(), st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=20))
def test_a_value_in_range_comes_back_within_half_a_step(tensor, shares):
    scale, zero_point = tensor["quantization"]
    limits = np.iinfo(tensor["dtype"])
    low, high = (limits.min - zero_point) * scale, (limits.max - zero_point) * scale
    values = (low + (np.array(shares) + 1) / 2 * (high - low)).astype(np.float32)
    steps = quantise(values, tensor)
    assert steps.dtype == tensor["dtype"]
    back = dequantise(steps, tensor)
    assert back.dtype == np.float32
    rounding_of_float32 = 1e-6 * max(abs(low), abs(high))
    assert np.abs(back.astype(np.float64) - values).max() <= scale / 2 + rounding_of_float32


@given(tensors())
def test_every_integer_survives_the_way_there_and_back(tensor):
    limits = np.iinfo(tensor["dtype"])
    steps = np.linspace(limits.min, limits.max, 257).astype(tensor["dtype"])
    np.testing.assert_array_equal(quantise(dequantise(steps, tensor), tensor), steps)


@pytest.mark.parametrize(("value", "expected"), [(1e9, 127), (-1e9, -128), (0.3, -127), (0.4, -126)])
def test_beyond_the_range_is_clipped_and_between_is_rounded(value, expected):
    tensor = {"dtype": np.int8, "quantization": (0.25, -128)}
    assert quantise(np.array([value], np.float32), tensor)[0] == expected


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.bool_, np.int8])
def test_numbers_that_stand_for_themselves_pass_untouched(dtype):
    """A scale of 0 says that an integer is no quantised float but a pixel, a token, a mask."""
    tensor = {"dtype": dtype, "quantization": (0.0, 0)}
    values = np.array([0, 1, 1], dtype)
    assert quantise(values, tensor) is values
    assert dequantise(values, tensor) is values


def test_floats_are_not_cut_to_integers_that_say_nothing_of_them():
    with pytest.raises(TypeError, match="takes uint8, given float32"):
        quantise(np.array([0.5], np.float32), {"dtype": np.uint8, "quantization": (0.0, 0)})


def test_floats_pass_untouched():
    tensor = {"dtype": np.float32, "quantization": (0.0, 0)}
    values = np.array([1.5, -2.5], np.float32)
    assert quantise(values, tensor) is values
    assert dequantise(values, tensor) is values


def node(name, inputs, outputs):
    return {"op_name": name, "inputs": np.array(inputs, np.int32), "outputs": np.array(outputs, np.int32)}


CHAIN = [node("CONV_2D", [0, 10], [1]), node("TANH", [1], [2]), node("CONV_2D", [2, 11], [3])]


def test_without_a_delegate_node_nothing_is_delegated():
    assert delegated_operations(CHAIN) == set()


def test_a_delegate_stands_for_what_lies_between_its_inputs_and_outputs():
    assert delegated_operations([*CHAIN, node("DELEGATE", [0, 10, 11], [3])]) == {0, 1, 2}
    assert delegated_operations([*CHAIN, node("DELEGATE", [2, 11], [3])]) == {2}


def test_two_delegates_around_an_operation_leave_it_out():
    nodes = [*CHAIN, node("DELEGATE", [0, 10], [1]), node("DELEGATE", [2, 11], [3])]
    assert delegated_operations(nodes) == {0, 2}


def test_optional_inputs_are_no_tensors():
    assert delegated_operations([node("CONV_2D", [0, -1], [1]), node("DELEGATE", [0], [1])]) == {0}


@pytest.mark.parametrize("content", [b"", b"no flatbuffer at all", b"\x10\0\0\0TFL3" + b"\xff" * 64])
def test_a_file_that_is_no_flatbuffer_is_refused_in_one_line(tmp_path, content):
    path = tmp_path / "broken.tflite"
    path.write_bytes(content)
    with pytest.raises(GateError, match=r"broken\.tflite does not load as TensorFlow Lite: ") as caught:
        open_model(path, "tflite", 1, ["y"])
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(GateError, match=r"gone\.tflite does not load"):
        predict(tmp_path / "gone.tflite", "tflite", {"x": np.zeros((1, 2), np.float32)}, ["y"])

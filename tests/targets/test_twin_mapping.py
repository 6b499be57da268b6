"""Mappings that a twin needs beside kernels and biases, held against real Keras layers."""

import importlib

import numpy as np
import pytest
import torch
from torch import nn

from models.errors import ModelError
from models.weights import (
    WeightMapping,
    conv_kernel,
    dense_kernel,
    depthwise,
    gru,
    load_twin,
    lstm,
)

pytestmark = pytest.mark.slow

DRAW = np.random.default_rng(2)
START = DRAW.bit_generator.state


@pytest.fixture(autouse=True)
def draws_from_the_start():
    """Give every test the same draws, whichever tests ran before it."""
    DRAW.bit_generator.state = START


@pytest.fixture(scope="module")
def keras():
    """Imported here, with TensorFlow: whoever collects this file need not run it."""
    return importlib.import_module("keras")


def state_of(module):
    return {name: tensor.numpy() for name, tensor in module.state_dict().items()}


def agree(module, twin, inputs, torch_inputs=None):
    with torch.inference_mode():
        expected = module(torch.from_numpy(inputs if torch_inputs is None else torch_inputs))
    expected = expected[0] if isinstance(expected, tuple) else expected
    return np.asarray(twin(inputs)), expected.numpy()


@pytest.mark.parametrize(
    ("torch_layer", "keras_layer", "mapping"), [(nn.LSTM, "LSTM", lstm), (nn.GRU, "GRU", gru)]
)
def test_two_biases_of_a_recurrent_layer_become_keras_own(keras, torch_layer, keras_layer, mapping):
    torch.manual_seed(0)
    source = nn.ModuleDict({"rnn": torch_layer(3, 5, batch_first=True)})
    twin = keras.Sequential(
        [keras.Input((None, 3)), getattr(keras.layers, keras_layer)(5, return_sequences=True, name="cell")]
    )
    load_twin(twin, state_of(source), mapping("rnn", "cell"))
    got, expected = agree(source["rnn"], twin, DRAW.normal(size=(2, 7, 3)).astype(np.float32))
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_a_depthwise_convolution_with_two_outputs_per_channel(keras):
    torch.manual_seed(0)
    source = nn.Sequential(nn.Conv2d(3, 6, 3, groups=3))
    twin = keras.Sequential(
        [keras.Input((8, 8, 3)), keras.layers.DepthwiseConv2D(3, depth_multiplier=2, name="dw")]
    )
    load_twin(
        twin,
        state_of(source),
        (WeightMapping("0.weight", "dw/kernel", depthwise(2)), WeightMapping("0.bias", "dw/bias")),
    )
    inputs = DRAW.normal(size=(2, 8, 8, 3)).astype(np.float32)
    got, expected = agree(source, twin, inputs, inputs.transpose(0, 3, 1, 2).copy())
    np.testing.assert_allclose(got, expected.transpose(0, 2, 3, 1), atol=1e-5)


def block(keras, name):
    inputs = keras.Input((4, 4, 2))
    outputs = keras.layers.Conv2D(2, 1, name="conv")(inputs)
    return keras.Model(inputs, keras.layers.Dense(2, name="dense")(outputs), name=name)


def test_layers_of_one_name_within_layers_are_told_apart_by_path(keras):
    inputs = keras.Input((4, 4, 2))
    twin = keras.Model(inputs, block(keras, "right")(block(keras, "left")(inputs)))
    torch.manual_seed(0)
    names = [f"{side}.{part}" for side in ("left", "right") for part in ("conv", "dense")]
    state = {}
    for name in names:
        kernel = DRAW.normal(size=(2, 2, 1, 1) if name.endswith("conv") else (2, 2)).astype(np.float32)
        state |= {f"{name}.weight": kernel, f"{name}.bias": DRAW.normal(size=2).astype(np.float32)}
    mappings = [
        mapping
        for name in names
        for mapping in (
            WeightMapping(
                f"{name}.weight",
                f"{name.replace('.', '/')}/kernel",
                conv_kernel if name.endswith("conv") else dense_kernel,
            ),
            WeightMapping(f"{name}.bias", f"{name.replace('.', '/')}/bias"),
        )
    ]
    load_twin(twin, state, mappings)
    for name in names:
        side, part = name.split(".")
        kernel, _ = twin.get_layer(side).get_layer(part).get_weights()
        np.testing.assert_array_equal(np.squeeze(kernel), np.squeeze(state[f"{name}.weight"]).T)
    with pytest.raises(
        ModelError, match=r"twin variable left/kernel is several; name one by its path: left/"
    ):
        load_twin(twin, state, [WeightMapping("left.conv.weight", "left/kernel", conv_kernel)])

"""The same network in Keras, and where each of its weights comes from."""

from collections.abc import Mapping
from typing import Any

import keras

from models.spec import FloatArray
from models.weights import (
    WeightMapping,
    batch_norm,
    conv_kernel,
    dense_kernel_after_flatten,
    load_twin,
)

PIXEL_MAX = 16.0
EPSILON = 1e-5  # PyTorch's default; Keras' own is 1e-3

MAPPINGS = (
    WeightMapping("block1.0.weight", "conv1/kernel", conv_kernel),
    *batch_norm("block1.1", "norm1"),
    WeightMapping("block2.0.weight", "conv2/kernel", conv_kernel),
    *batch_norm("block2.1", "norm2"),
    WeightMapping("block3.0.weight", "conv3/kernel", conv_kernel),
    *batch_norm("block3.1", "norm3"),
    WeightMapping("classifier.weight", "classifier/kernel", dense_kernel_after_flatten(64, 2, 2)),
    WeightMapping("classifier.bias", "classifier/bias"),
)


def _conv_block(x: Any, channels: int, number: int) -> Any:
    x = keras.layers.Conv2D(channels, 3, padding="same", use_bias=False, name=f"conv{number}")(x)
    x = keras.layers.BatchNormalization(epsilon=EPSILON, name=f"norm{number}")(x)
    return keras.layers.ReLU(name=f"relu{number}")(x)


def architecture() -> Any:
    """Build the untrained twin: (batch, 8, 8, 1) pixel values 0 to 16 to (batch, 10) logits."""
    image = keras.Input((8, 8, 1), name="image")
    x = keras.layers.Rescaling(1 / PIXEL_MAX, name="rescale")(image)
    x = _conv_block(_conv_block(x, 16, 1), 32, 2)
    x = keras.layers.MaxPooling2D(name="pool1")(x)
    x = keras.layers.MaxPooling2D(name="pool2")(_conv_block(x, 64, 3))
    logits = keras.layers.Dense(10, name="classifier")(keras.layers.Flatten(name="flatten")(x))
    return keras.Model(image, logits, name="digits_cnn")


def build(state: Mapping[str, FloatArray]) -> Any:
    """Build the twin with the checkpoint's weights.

    Raises:
        ModelError: the checkpoint does not fit.
    """
    twin = architecture()
    load_twin(twin, state, MAPPINGS)
    return twin

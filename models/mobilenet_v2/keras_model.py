"""The same network in Keras, and where each of its weights comes from."""

from collections.abc import Iterator, Mapping
from typing import Any

import keras

from models.mobilenet_v2.layout import (
    CLASSES,
    EPSILON,
    LAST_CHANNELS,
    PIXEL_HALF,
    SIDE,
    STEM_CHANNELS,
    Block,
    blocks,
)
from models.spec import FloatArray
from models.weights import (
    Transform,
    WeightMapping,
    batch_norm,
    conv_kernel,
    dense_kernel,
    depthwise_kernel,
    load_twin,
)

LAST = 18  # index of the last convolution in the torch module's `features`: after the stem and 17 blocks


def _pair(
    convolution: str, norm: str, layer: str, transform: Transform = conv_kernel
) -> Iterator[WeightMapping]:
    yield WeightMapping(f"{convolution}.weight", f"{layer}/kernel", transform)
    yield from batch_norm(norm, f"{layer}_norm")


def _block_mappings(block: Block) -> Iterator[WeightMapping]:
    source, layer = f"features.{block.number}.conv", f"block{block.number}"
    if block.expands:
        yield from _pair(f"{source}.0.0", f"{source}.0.1", f"{layer}_expand")
    filtering = 1 if block.expands else 0
    yield from _pair(
        f"{source}.{filtering}.0", f"{source}.{filtering}.1", f"{layer}_filter", depthwise_kernel
    )
    yield from _pair(f"{source}.{filtering + 1}", f"{source}.{filtering + 2}", f"{layer}_project")


def _mappings() -> Iterator[WeightMapping]:
    yield from _pair("features.0.0", "features.0.1", "stem")
    for block in blocks():
        yield from _block_mappings(block)
    yield from _pair(f"features.{LAST}.0", f"features.{LAST}.1", "last")
    yield WeightMapping("classifier.1.weight", "classifier/kernel", dense_kernel)
    yield WeightMapping("classifier.1.bias", "classifier/bias")


MAPPINGS = tuple(_mappings())


def _normalised(x: Any, layer: Any) -> Any:
    return keras.layers.BatchNormalization(epsilon=EPSILON, name=f"{layer.name}_norm")(layer(x))


def _activated(x: Any, layer: Any) -> Any:
    return keras.layers.ReLU(max_value=6.0, name=f"{layer.name}_relu6")(_normalised(x, layer))


def _padded(x: Any, stride: int, name: str) -> tuple[Any, str]:
    """Return `x` and the padding its 3x3 convolution needs to see what PyTorch's sees.

    PyTorch pads one pixel on every side. With stride 2 and an even side Keras' "same" would pad only below
    and to the right, and every window would be one pixel off.
    """
    if stride == 1:
        return x, "same"
    return keras.layers.ZeroPadding2D(1, name=f"{name}_pad")(x), "valid"


def _pointwise(channels: int, name: str) -> Any:
    return keras.layers.Conv2D(channels, 1, use_bias=False, name=name)


def _block(x: Any, block: Block) -> Any:
    name, y = f"block{block.number}", x
    if block.expands:
        y = _activated(y, _pointwise(block.hidden, f"{name}_expand"))
    y, padding = _padded(y, block.stride, f"{name}_filter")
    y = _activated(
        y,
        keras.layers.DepthwiseConv2D(3, block.stride, padding=padding, use_bias=False, name=f"{name}_filter"),
    )
    y = _normalised(y, _pointwise(block.channels_out, f"{name}_project"))
    return keras.layers.Add(name=f"{name}_add")([x, y]) if block.adds_input else y


def architecture() -> Any:
    """Build the untrained twin: (batch, 96, 96, 3) pixel values 0 to 255 to (batch, 10) logits.

    Dropout is left out: it does nothing after training.
    """
    image = keras.Input((SIDE, SIDE, 3), name="image")
    x = keras.layers.Rescaling(1 / PIXEL_HALF, offset=-1, name="rescale")(image)
    x, padding = _padded(x, 2, "stem")
    x = _activated(x, keras.layers.Conv2D(STEM_CHANNELS, 3, 2, padding=padding, use_bias=False, name="stem"))
    for block in blocks():
        x = _block(x, block)
    x = _activated(x, _pointwise(LAST_CHANNELS, "last"))
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(image, keras.layers.Dense(CLASSES, name="classifier")(x), name="mobilenet_v2")


def build(state: Mapping[str, FloatArray]) -> Any:
    """Build the twin with the checkpoint's weights.

    Raises:
        ModelError: the checkpoint does not fit.
    """
    twin = architecture()
    load_twin(twin, state, MAPPINGS)
    return twin

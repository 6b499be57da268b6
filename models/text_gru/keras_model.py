"""The same network in Keras, which can loop over a text of any length, and where each weight comes from."""

from collections.abc import Mapping
from typing import Any

import keras

from models.spec import FloatArray
from models.weights import WeightMapping, dense_kernel, gru, load_twin

CHARACTERS = 128
WIDTH = 24
HIDDEN = 48
KINDS = 3

MAPPINGS = (
    WeightMapping("embedding.weight", "embedding/embeddings"),
    *gru("recurrent", "recurrent"),
    WeightMapping("classifier.weight", "classifier/kernel", dense_kernel),
    WeightMapping("classifier.bias", "classifier/bias"),
)


def architecture() -> Any:
    """Build the untrained twin: (batch, length) character codes to (batch, 3) logits."""
    characters = keras.Input((None,), dtype="int64", name="characters")
    x = keras.layers.Embedding(CHARACTERS, WIDTH, name="embedding")(characters)
    states = keras.layers.GRU(HIDDEN, return_sequences=True, reset_after=True, name="recurrent")(x)
    mean = keras.layers.GlobalAveragePooling1D(name="mean")(states)
    logits = keras.layers.Dense(KINDS, name="classifier")(mean)
    return keras.Model(characters, logits, name="text_gru")


def build(state: Mapping[str, FloatArray]) -> Any:
    """Build the twin with the checkpoint's weights.

    Raises:
        ModelError: the checkpoint does not fit.
    """
    twin = architecture()
    load_twin(twin, state, MAPPINGS)
    return twin

"""How this network is trained where two frameworks train it alike: lines of similar length together."""

from typing import Any

import numpy as np
import numpy.typing as npt

from models.recipe import IntArray, Recipe
from models.samples import Samples
from models.text_gru.data import train_samples


def by_length(samples: Samples, batch_size: int, draw: np.random.Generator) -> list[IntArray]:
    """Return batches of lines of similar length, in random order; equal lengths are shuffled."""
    lengths = np.array([len(line) for line in samples.inputs])
    order = np.argsort(lengths + draw.random(len(lengths)))
    parts = np.array_split(order, -(-len(order) // batch_size))
    return [parts[place] for place in draw.permutation(len(parts))]


def cut(samples: Samples, places: IntArray) -> npt.NDArray[Any]:
    """Cut the lines at those places to the shortest of them."""
    lines = [samples.inputs[place] for place in places]
    shortest = min(map(len, lines))
    return np.stack([line[:shortest] for line in lines])


RECIPE = Recipe(samples=train_samples, epochs=20, learning_rate=8e-3, order=by_length, take=cut)

"""How a model is trained alike in two frameworks: data, order, batches and learning rates, all in numpy.

A recipe says everything that the result depends on and that is no framework's own. The loops over
it are `models.fit_torch` and `models.fit_keras`.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from models.samples import Samples

IntArray = npt.NDArray[np.int64]
Order = Callable[[Samples, int, np.random.Generator], Sequence[IntArray]]
Take = Callable[[Samples, IntArray], npt.NDArray[Any]]

EPSILON: Final = 1e-7
"""Of AdamW, in both frameworks: what each would take by itself differs tenfold."""

WARM_UP, START, END = 0.3, 1 / 25, 1 / 250_000
"""Of the one-cycle learning rate: the share of steps that it climbs, and its ends as shares of its peak."""


def shuffled(samples: Samples, batch_size: int, draw: np.random.Generator) -> list[IntArray]:
    """Return the places of all samples in random order, in batches; the last one may be smaller."""
    order = draw.permutation(len(samples))
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]


def as_they_are(samples: Samples, places: IntArray) -> npt.NDArray[Any]:
    """Return the inputs at those places, (batch, …)."""
    taken: npt.NDArray[Any] = np.asarray(samples.inputs)[places]
    return taken


@dataclass(frozen=True)
class Recipe:
    """How a classifier with one input and one output of logits is trained.

    Attributes:
        samples: what is learned from; its labels are the classes.
        epochs, batch_size: unless others are asked for.
        learning_rate: the peak of a one-cycle schedule.
        weight_decay: of AdamW.
        order: splits the places of the samples into an epoch's batches; always equally many.
        take: the inputs of a batch, of one shape.
    """

    samples: Callable[[], Samples]
    epochs: int
    learning_rate: float
    batch_size: int = 32
    weight_decay: float = 1e-4
    order: Order = shuffled
    take: Take = as_they_are


@dataclass(frozen=True)
class Session:
    """One training by a recipe: a seed, and how long; both frameworks go through the same one."""

    recipe: Recipe
    seed: int
    epochs: int
    batch_size: int

    @property
    def steps_count(self) -> int:
        """Batches of an epoch."""
        return len(self._order(0))

    @property
    def samples_count(self) -> int:
        """Samples of an epoch."""
        return len(self.recipe.samples())

    def batches(self, epoch: int) -> Iterator[tuple[npt.NDArray[Any], IntArray]]:
        """Yield inputs (batch, …) and classes (batch,) of one epoch, counted from 0; always the same."""
        samples = self.recipe.samples()
        labels = np.asarray(samples.labels)
        for places in self._order(epoch):
            yield self.recipe.take(samples, places), labels[places]

    def _order(self, epoch: int) -> Sequence[IntArray]:
        draw = np.random.default_rng((self.seed, epoch))
        return self.recipe.order(self.recipe.samples(), self.batch_size, draw)

    def learning_rates(self) -> list[float]:
        """Return the learning rate of every step: up to the peak and down again, each along half a cosine.

        Smith and Topin 2018, "Super-convergence", as PyTorch's OneCycleLR has it; momentum stays as it is.
        """
        total = self.steps_count * self.epochs
        climb = max(1, int(WARM_UP * total) - 1)
        peak = self.recipe.learning_rate
        rates = []
        for step in range(total):
            if step <= climb:
                rates.append(_half_cosine(peak * START, peak, step / climb))
            else:
                rates.append(_half_cosine(peak, peak * END, (step - climb) / max(1, total - 1 - climb)))
        return rates


def _half_cosine(first: float, last: float, share: float) -> float:
    return last + (first - last) / 2 * (1 + math.cos(math.pi * share))


@dataclass(frozen=True)
class Fitted:
    """What a training took and how its loss fell.

    Attributes:
        epochs_s: wall time of every epoch, with taking its batches and without looking at the result.
        losses: mean cross-entropy of every epoch over its samples, while the weights moved.
        first_loss: of the very first batch, before any step: equal where weights and data are.
        settings: what is the framework's own in it, such as whether it compiles.
    """

    epochs_s: tuple[float, ...]
    losses: tuple[float, ...]
    first_loss: float
    settings: dict[str, str]


Predict = Callable[[npt.NDArray[Any]], npt.NDArray[Any]]
"""Logits (n, classes) of inputs (n, …)."""

Progress = Callable[[str], None]

"""What TensorBoard shows of a run, before it has a format: series, distributions and settings."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

STEPS_PER_DOUBLING: Final = 8
"""Buckets of a distribution: 9 % apart, so that its percentiles can be read off within that."""

Setting = bool | float | str


@dataclass(frozen=True)
class Scalar:
    """A number as run.json holds it, at a step; `at_s` is when, in seconds since 1970."""

    tag: str
    step: int
    value: float
    at_s: float


@dataclass(frozen=True)
class Bucket:
    """How many values lie from `low` up to `high`."""

    low: float
    high: float
    count: int


@dataclass(frozen=True)
class Distribution:
    """All values of one kind at a step."""

    tag: str
    step: int
    buckets: tuple[Bucket, ...]
    at_s: float


@dataclass
class Part:
    """One line of TensorBoard's list of runs: a side, a training, an artifact.

    Attributes:
        settings: what it was, to be set against the scalars on the page of hyper-parameters; empty for none.
    """

    name: str
    scalars: list[Scalar] = field(default_factory=list)
    distributions: list[Distribution] = field(default_factory=list)
    settings: dict[str, Setting] = field(default_factory=dict)


def buckets_of(values: Sequence[float] | npt.NDArray[np.float64]) -> tuple[Bucket, ...]:
    """Count values above 0 in buckets whose ends grow by the same factor; keep empty ones between."""
    positive = np.asarray(values, np.float64)
    positive = positive[positive > 0]
    if not len(positive):
        return ()
    first = math.floor(math.log2(positive.min()) * STEPS_PER_DOUBLING)
    last = math.floor(math.log2(positive.max()) * STEPS_PER_DOUBLING) + 1
    edges = np.exp2(np.arange(first, last + 1) / STEPS_PER_DOUBLING)
    # The two ends hold what rounding would put beside them.
    edges[0], edges[-1] = min(edges[0], positive.min()), max(edges[-1], positive.max())
    counts, _ = np.histogram(positive, edges)
    return tuple(
        Bucket(float(low), float(high), int(count))
        for low, high, count in zip(edges[:-1], edges[1:], counts, strict=True)
    )

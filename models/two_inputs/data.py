"""Handwritten digits as quantities, each with a price and a discount drawn at random and an amount."""

from functools import cache

import numpy as np
import numpy.typing as npt

from models.digits_cnn import data as digits
from models.spec import FloatArray, Samples

TERMS_SEED = 11
LARGEST_PRICE = 10.0
LARGEST_DISCOUNT = 0.5


def amounts(quantities: npt.NDArray[np.int64], terms: FloatArray) -> FloatArray:
    """Return what is to be paid, (n, 1): quantity * price * (1 - discount)."""
    paid: FloatArray = (quantities * terms[:, 0] * (1 - terms[:, 1]))[:, None].astype(np.float32)
    return paid


def with_terms(samples: Samples, seed: int) -> Samples:
    """Add a price of 1 to 10 and a discount of 0 to 0.5 to each digit."""
    draw = np.random.default_rng(seed)
    terms = draw.uniform((1.0, 0.0), (LARGEST_PRICE, LARGEST_DISCOUNT), (len(samples), 2)).astype(np.float32)
    labels = {"logits": samples.labels, "amount": amounts(samples.labels, terms)}
    return Samples({"image": samples.inputs, "terms": terms}, labels)


@cache
def train_samples() -> Samples:
    """Return 1,347 orders: `image` (n, 8, 8, 1) and `terms` (n, 2), price and discount; digit and amount."""
    return with_terms(digits.train_samples(), TERMS_SEED)


@cache
def test_samples() -> Samples:
    """Return 450 held-out orders, in the same layout."""
    return with_terms(digits.test_samples(), TERMS_SEED + 1)

"""The UCI handwritten digits that ship inside scikit-learn, with a fixed split."""

import os
from functools import cache

import numpy as np

from models.spec import FloatArray, Samples

SPLIT_SEED = 20
TEST_COUNT = 450


@cache
def _split() -> tuple[Samples, Samples]:
    # Nothing here is parallel, and joblib, once imported, warns where /dev/shm is not writable.
    os.environ.setdefault("JOBLIB_MULTIPROCESSING", "0")
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, labels = load_digits(return_X_y=True)
    pixels: FloatArray = images.reshape(-1, 8, 8, 1).astype(np.float32)
    train_x, test_x, train_y, test_y = train_test_split(
        pixels, labels.astype(np.int64), test_size=TEST_COUNT, random_state=SPLIT_SEED, stratify=labels
    )
    return Samples(train_x, train_y), Samples(test_x, test_y)


def train_samples() -> Samples:
    """Return 1,347 images, (n, 8, 8, 1) float32 with pixel values 0 to 16, and their digits."""
    return _split()[0]


def test_samples() -> Samples:
    """Return 450 held-out images, in the same layout."""
    return _split()[1]

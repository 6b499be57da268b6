"""The Wisconsin diagnostic breast cancer data that ship inside scikit-learn, with a fixed split."""

import os
from functools import cache

import numpy as np

from models.spec import Samples

FEATURES = 30
SPLIT_SEED = 20
TEST_COUNT = 169


@cache
def _split() -> tuple[Samples, Samples]:
    # Nothing here is parallel, and joblib, once imported, warns where /dev/shm is not writable.
    os.environ.setdefault("JOBLIB_MULTIPROCESSING", "0")
    from sklearn.datasets import load_breast_cancer
    from sklearn.model_selection import train_test_split

    table, labels = load_breast_cancer(return_X_y=True)
    train_x, test_x, train_y, test_y = train_test_split(
        table.astype(np.float32),
        labels.astype(np.int64),
        test_size=TEST_COUNT,
        random_state=SPLIT_SEED,
        stratify=labels,
    )
    return Samples(train_x, train_y), Samples(test_x, test_y)


def train_samples() -> Samples:
    """Return 400 rows, (n, 30) float32 in their own units, and 1 for benign or 0 for malignant."""
    return _split()[0]


def test_samples() -> Samples:
    """Return 169 held-out rows, in the same layout."""
    return _split()[1]

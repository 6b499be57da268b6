"""The digits are split as scikit-learn would, without the seconds that importing it takes."""

import subprocess
import sys

import numpy as np
import pytest

from models.digits_cnn import data

pytestmark = pytest.mark.slow

WITHOUT_IMPORT = """
import sys
from models.digits_cnn import data
print(len(data.test_samples().inputs), "sklearn" in sys.modules)
"""


def test_the_split_is_scikit_learns():
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, labels = load_digits(return_X_y=True)
    train, test, train_labels, test_labels = train_test_split(
        images.reshape(-1, 8, 8, 1).astype(np.float32),
        labels,
        test_size=data.TEST_COUNT,
        random_state=data.SPLIT_SEED,
        stratify=labels,
    )
    for samples, inputs, expected in (
        (data.train_samples(), train, train_labels),
        (data.test_samples(), test, test_labels),
    ):
        assert samples.inputs.dtype == np.float32
        assert samples.labels.dtype == np.int64
        np.testing.assert_array_equal(samples.inputs, inputs)
        np.testing.assert_array_equal(samples.labels, expected)


def test_the_digits_load_without_scikit_learn():
    command = [sys.executable, "-W", "error", "-c", WITHOUT_IMPORT]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "450 False\n", "")

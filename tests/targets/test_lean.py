"""A process with TensorFlow does not import scikit-learn for it, and has it for everybody else."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

TOLD = """
import sys
from pipelines.tasks.lean import import_less
import_less()
import tensorflow as tf
print("sklearn" in sys.modules, "scipy.stats" in sys.modules)
import keras
from sklearn.base import BaseEstimator
print(BaseEstimator.__name__, len(keras.Sequential([keras.layers.Dense(1)])(tf.ones((3, 2)))))
"""


def test_only_the_wrappers_of_keras_go_without():
    done = subprocess.run([sys.executable, "-c", TOLD], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["False False", "BaseEstimator 3"]

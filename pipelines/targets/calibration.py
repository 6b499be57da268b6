"""The samples that full quantisation learns its ranges from, the same for both roads."""

import numpy as np

from models.spec import FloatArray, ModelError, ModelSpec

CALIBRATION_COUNT = 300
CALIBRATION_SEED = 5


def draw(spec: ModelSpec, training: FloatArray) -> FloatArray:
    """`CALIBRATION_COUNT` of the `training` inputs (n, …), or all there are, drawn by a fixed seed.

    Raises:
        ModelError: there is no training sample.
    """
    if len(training) == 0:
        raise ModelError(f"{spec.name} has no training samples to calibrate int8 on; give it train_samples")
    count = min(CALIBRATION_COUNT, len(training))
    return training[np.random.default_rng(CALIBRATION_SEED).choice(len(training), count, replace=False)]

"""The samples that full quantisation learns its ranges from, the same for both roads."""

import numpy as np

from models.spec import ModelSpec
from models.tensors import Array, count, take

CALIBRATION_COUNT = 300
CALIBRATION_SEED = 5


def draw(spec: ModelSpec) -> dict[str, Array] | None:
    """Draw `CALIBRATION_COUNT` training inputs, or all there are, with a fixed seed; None without any."""
    training = spec.training()
    if training is None:
        return None
    there = count(training.named)
    chosen = np.random.default_rng(CALIBRATION_SEED).choice(
        there, min(CALIBRATION_COUNT, there), replace=False
    )
    return take(training.named, chosen)


def nothing_to_calibrate_on(spec: ModelSpec) -> str:
    """Explain why there is no file of full integers for a model without training samples."""
    return (
        f"{spec.name} has no training samples to learn the ranges of integers from; give its ModelSpec "
        "train_samples, which may be a calibration set"
    )

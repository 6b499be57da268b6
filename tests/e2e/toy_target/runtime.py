"""Outputs from the file alone."""

from pathlib import Path

import numpy as np

from models.spec import FloatArray


def predict(artifact: Path, artifact_format: str, inputs: FloatArray) -> FloatArray:
    outputs: FloatArray = inputs @ np.load(artifact).T
    return outputs

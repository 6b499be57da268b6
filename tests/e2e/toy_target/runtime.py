"""Outputs from the file alone."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from models.tensors import Array, Tensors


def predict(
    artifact: Path, artifact_format: str, inputs: Tensors, outputs: Sequence[str]
) -> dict[str, Array]:
    (given,), (name,) = inputs.values(), outputs
    return {name: given @ np.load(artifact).T}

"""The checkpoint's matrix as a file of NumPy's."""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from models.spec import ModelSpec
from models.weights import read_checkpoint
from pipelines.targets.exported import Exported


def export(spec: ModelSpec, folder: Path, progress: Callable[[str], None]) -> list[Exported]:
    progress("saving the matrix")
    started = time.monotonic()
    np.save(folder / "matrix.npy", read_checkpoint(spec)["linear.weight"])
    return [Exported("matrix.npy", "numpy", "float32", time.monotonic() - started)]

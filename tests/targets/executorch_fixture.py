"""Small helpers that the tests of ExecuTorch and ONNX share."""

import numpy as np

from pipelines.targets.executorch import runtime

SHORT = (np.ones((3, 8, 8, 1), np.float32), np.zeros(3, np.int64))


def outputs_of(path, inputs):
    """What the runtime makes of a `.pte` or `.ptl` file."""
    return runtime.predict(path, path.suffix[1:], {"image": inputs}, ["logits"])["logits"]

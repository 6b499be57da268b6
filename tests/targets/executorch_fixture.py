"""Small helpers that the tests of ExecuTorch and ONNX share."""

import numpy as np

from models.digits_cnn import MODEL
from pipelines.targets.executorch import runtime

SHORT = (np.ones((3, 8, 8, 1), np.float32), np.zeros(3, np.int64))


def outputs_of(path, inputs):
    """What the runtime makes of a `.pte` or `.ptl` file."""
    return runtime.predict(path, path.suffix[1:], {"image": inputs}, ["logits"])["logits"]


def model_files(folder):
    """A float32 `.pte` for XNNPACK and a `.ptl` of the digits model, without calibration."""
    import torch

    from models.weights import load_source
    from pipelines.targets.executorch.export import folded, lower
    from pipelines.targets.executorch.lite import write_lite
    from pipelines.targets.tracing import traceable

    inputs = torch.zeros(1, 8, 8, 1)
    with torch.no_grad():
        program = torch.export.export(folded(load_source(MODEL)), (inputs,))
    pte = folder / "one.pte"
    pte.write_bytes(lower(program, "xnnpack"))
    portable = folder / "portable.pte"
    portable.write_bytes(lower(program, "portable"))
    return {"pte": pte, "portable": portable, "ptl": folder / write_lite(traceable(MODEL), folder).path}

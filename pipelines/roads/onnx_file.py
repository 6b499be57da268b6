"""PyTorch → ONNX, as the road by onnx2tf wants it: dynamic where the spec is, names as the spec has them."""

import warnings
from collections.abc import Callable
from pathlib import Path

from models.spec import load_unchanged
from pipelines.roads.program import TRACE_BATCH, load_plain, traced_inputs

# What onnx2tf's own tests cover; torch's TorchScript-based exporter writes plain operators of it.
OPSET = 17


def write(model: str, digest: str, file: str, progress: Callable[[str], None]) -> None:
    """Write the model to `file`, weights inside.

    Raises:
        ModelError: the model is not usable.
        Exception: torch's own, where it has no ONNX for an operator.
    """
    import torch

    spec = load_unchanged(model, digest)
    progress("writing ONNX")
    axes = {
        tensor.name: {
            axis: f"{tensor.name}_{axis}" if axis else "batch"
            for axis, size in enumerate(tensor.shape)
            if size is None
        }
        for tensor in (*spec.inputs, *spec.outputs)
    }
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            load_plain(spec),
            traced_inputs(spec, TRACE_BATCH),
            Path(file),
            dynamo=False,
            external_data=False,
            opset_version=OPSET,
            input_names=[tensor.name for tensor in spec.inputs],
            output_names=[tensor.name for tensor in spec.outputs],
            dynamic_axes=axes,
        )

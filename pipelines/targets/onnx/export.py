"""PyTorch module → one ONNX file, the bridge that both worlds read.

torch's TorchScript-based exporter writes it: it folds batch normalisation and constants by itself, gives a
graph of plain operators and needs nothing but torch. The newer one (`dynamo=True`) needs onnxscript as well.
"""

import time
import warnings
from collections.abc import Callable
from pathlib import Path

from models.spec import ModelSpec
from models.weights import load_source
from pipelines.errors import MachineError, first_line
from pipelines.targets.exported import Exported, NotExported

# Understood by every ONNX Runtime since 1.12 and by the converters to TensorFlow.
OPSET = 17
BATCH = "batch"
TRACE_BATCH = 2  # a batch of one would let tracing take the batch size for a constant


def export(spec: ModelSpec, folder: Path, progress: Callable[[str], None]) -> list[Exported | NotExported]:
    """Write `NAME_float32.onnx` into `folder`: weights inside, named input and output, dynamic batch.

    Raises:
        MachineError: onnx's own checker refuses what was written.
    """
    import torch

    progress("exporting ONNX")
    started = time.monotonic()
    path = folder / f"{spec.name}_float32.onnx"
    inputs = torch.tensor(spec.examples().inputs[:TRACE_BATCH])
    with warnings.catch_warnings(), torch.inference_mode():
        # That this exporter is the older of two is known; see above.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            load_source(spec),
            (inputs,),
            path,
            dynamo=False,
            external_data=False,
            opset_version=OPSET,
            input_names=[spec.input.name],
            output_names=[spec.output.name],
            dynamic_axes={spec.input.name: {0: BATCH}, spec.output.name: {0: BATCH}},
        )
    _finish(path)
    return [Exported(path.name, "onnx", "float32", time.monotonic() - started)]


def _finish(path: Path) -> None:
    """Take out what no runtime reads, the places in our source files above all, and check the rest."""
    import onnx

    model = onnx.load(path)
    for node in model.graph.node:
        node.doc_string = ""
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise MachineError(f"{path.name} is not valid ONNX: {first_line(error)}") from error
    path.write_bytes(model.SerializeToString(deterministic=True))

"""PyTorch module → one ONNX file, the bridge that both worlds read.

torch has two exporters. The one on TorchScript is asked first: it folds batch normalisation and constants by
itself, gives a small graph of plain operators and takes a second. What it cannot write, or writes wrongly,
the one on `torch.export` is asked for. What either wrote is proven before it counts, and the record says
which.
"""

import time
import warnings
from collections.abc import Callable
from pathlib import Path

from models.errors import ModelError
from models.spec import ModelSpec
from pipelines.errors import first_line
from pipelines.targets.exported import Exported, NotExported
from pipelines.targets.onnx.runtime import OnnxModel
from pipelines.targets.tracing import Traceable, dynamic_axes, hushed, in_one_tuple, prove, traceable, why

# Understood by every ONNX Runtime since 1.12 and by the converters to TensorFlow.
OPSET = 17
# The lowest that the newer exporter writes well.
NEWER_OPSET = 20


def export(spec: ModelSpec, folder: Path, progress: Callable[[str], None]) -> list[Exported | NotExported]:
    """Write `NAME_float32.onnx` into `folder`: weights inside, named inputs and outputs, dynamic dimensions.

    Raises:
        ModelError: neither exporter writes a file that ONNX Runtime loads and that is the model.
    """
    progress("exporting ONNX")
    started = time.monotonic()
    path = folder / f"{spec.name}_float32.onnx"
    model = traceable(spec)
    refusals = []
    for road, write in (
        ("torch.onnx on TorchScript", write_traced),
        ("torch.onnx on torch.export", write_exported),
    ):
        progress(f"exporting ONNX with {road}")
        try:
            write(model, path)
            prove(model, path.name, OnnxModel(path, 1, [output.name for output in spec.outputs]).compute)
        except Exception as error:  # noqa: BLE001 - whatever it was, the other exporter may do better
            path.unlink(missing_ok=True)
            refusals.append(f"{road}: {error if isinstance(error, ModelError) else why(error)}")
        else:
            return [Exported(path.name, "onnx", "float32", time.monotonic() - started, road=road)]
    raise ModelError(f"{spec.name} cannot be written as ONNX: {'; '.join(refusals)}")


def write_traced(model: Traceable, path: Path) -> None:
    """Write the file with torch's exporter on TorchScript."""
    import torch

    spec = model.spec
    with hushed(), warnings.catch_warnings(), torch.inference_mode():
        # That this exporter is the older of two is known; see above.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            model.module,
            model.inputs,
            path,
            dynamo=False,
            external_data=False,
            opset_version=OPSET,
            input_names=[tensor.name for tensor in spec.inputs],
            output_names=[tensor.name for tensor in spec.outputs],
            dynamic_axes={tensor.name: dynamic_axes(tensor) for tensor in (*spec.inputs, *spec.outputs)},
        )
    _finish(path)


def write_exported(model: Traceable, path: Path) -> None:
    """Write the file with torch's exporter on torch.export, which needs onnxscript."""
    import torch

    spec = model.spec
    dynamic = tuple(dict.fromkeys(dynamic_axes(tensor), torch.export.Dim.AUTO) for tensor in spec.inputs)
    with hushed(), torch.no_grad():
        torch.onnx.export(
            model.module,
            model.inputs,
            path,
            dynamo=True,
            external_data=False,
            opset_version=NEWER_OPSET,
            input_names=[tensor.name for tensor in spec.inputs],
            output_names=[tensor.name for tensor in spec.outputs],
            dynamic_shapes=in_one_tuple(model.module, dynamic),
            verbose=False,
        )
    _finish(path)


def _finish(path: Path) -> None:
    """Take out what no runtime reads, the places in our source files above all, and check the rest.

    Raises:
        ModelError: onnx's own checker refuses it.
    """
    import onnx

    model = onnx.load(path)
    graphs = (model.graph, *model.functions)
    for part in (*(node for graph in graphs for node in graph.node), *graphs, *model.graph.value_info):
        part.doc_string = ""
        part.ClearField("metadata_props")
    model.ClearField("metadata_props")
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ModelError(f"{path.name} is not valid ONNX: {first_line(error)}") from error
    path.write_bytes(model.SerializeToString(deterministic=True))

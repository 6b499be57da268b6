"""PyTorch → litert-torch → TensorFlow Lite, one file per precision; runs in its environment.

Float32 is litert-torch's own; the others are made of it by ai-edge-quantizer.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from models.spec import ModelSpec, load_unchanged
from models.tensors import Array, count, samples, take
from pipelines.errors import first_line
from pipelines.roads.cures import bagged, first_of, without_transposed
from pipelines.roads.lowerings import FORMS, operator_named
from pipelines.roads.program import load_plain, traced_inputs

WIDE = ("int64", "float64")
# Few: its quantiser looks at every tensor of every sample in Python.
CALIBRATION_COUNT, CALIBRATION_SEED = 64, 5
# Precisions by the quantiser's own recipes; None: it has none.
RECIPES = {
    "float16": None,
    "dynamic-int8": "dynamic_wi8_afp32",
    "int8": "static_wi8_ai8",
    "int16x8": "static_wi8_ai16",
}
STATIC = ("int8", "int16x8")
REFUSED = "refused.json"


def convert(model: str, digest: str, folder: str, progress: Callable[[str], None]) -> None:
    """Write `PRECISION.tflite` for each precision into `folder`, and why there is none to `refused.json`.

    Raises:
        ModelError: the model is not usable.
        Exception: litert-torch's own, where it does not take the model.
    """
    spec, target = load_unchanged(model, digest), Path(folder)
    target.mkdir()
    progress("litert-torch: lowering")
    plain = _flatbuffer(spec)
    (target / "float32.tflite").write_bytes(plain)
    refused: dict[str, str] = {}
    examples = calibration(spec)
    for precision, recipe in RECIPES.items():
        if precision in STATIC and not examples:
            continue  # there is nothing to learn ranges from
        progress(f"quantising to {precision}")
        try:
            (target / f"{precision}.tflite").write_bytes(_quantised(plain, precision, recipe, examples))
        except Exception as error:  # noqa: BLE001 - whatever the quantiser raises is why there is none
            refused[precision] = f"{type(error).__name__}: {first_line(error)}"
    (target / REFUSED).write_text(json.dumps(refused))


def _flatbuffer(spec: ModelSpec) -> bytes:
    import litert_torch
    import torch
    from litert_torch.fx_infra import decomp

    for name, form in FORMS.items():
        decomp.add_pre_convert_decomp(operator_named(name), form)
    dim = torch.export.Dim
    # A device computes one sample at a time.
    shapes = [
        {axis: dim.AUTO for axis, size in enumerate(tensor.shape) if size is None and axis}
        for tensor in spec.inputs
    ]
    converted = litert_torch.convert(
        load_plain(spec, first_of(without_transposed, bagged)),
        traced_inputs(spec, 1),
        dynamic_shapes=(tuple(shapes),) if any(shapes) else None,
        enable_x64=any(tensor.dtype in WIDE for tensor in (*spec.inputs, *spec.outputs)),
    )
    return bytes(converted.model_content())


def _quantised(
    plain: bytes, precision: str, recipe: str | None, examples: Sequence[Mapping[str, Array]]
) -> bytes:
    from ai_edge_quantizer import qtyping, quantizer
    from ai_edge_quantizer import recipe as recipes

    if recipe is None:
        worker = quantizer.Quantizer(plain)
        worker.update_quantization_recipe(
            regex=".*",
            operation_name=qtyping.TFLOperationName.ALL_SUPPORTED,
            op_config=qtyping.OpQuantizationConfig(
                weight_tensor_config=qtyping.TensorQuantizationConfig(
                    num_bits=16, dtype=qtyping.TensorDataType.FLOAT
                ),
                compute_precision=qtyping.ComputePrecision.FLOAT,
                explicit_dequantize=True,
            ),
            algorithm_key="float_casting",
        )
    else:
        worker = quantizer.Quantizer(plain, getattr(recipes, recipe)())
    ranges = None
    if precision in STATIC:
        ranges = worker.calibrate({"serving_default": examples}, num_threads=1)
    return bytes(worker.quantize(ranges, enable_progress_report=False).quantized_model)


def calibration(spec: ModelSpec) -> list[dict[str, Array]]:
    """Draw training samples, whose order may be that of their classes; none where there are none.

    They are named as the file's own signature names them: by their places.
    """
    training = spec.training()
    if training is None:
        return []
    there = count(training.named)
    chosen = np.random.default_rng(CALIBRATION_SEED).permutation(there)[:CALIBRATION_COUNT]
    return [
        {f"args_{place}": array[None] for place, array in enumerate(one.values())}
        for one in samples(take(training.named, chosen))
    ]

"""Post-training quantisation to int8 (PT2E)."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

# Samples calibrated at once: one by one, keeping the histograms would take several times as long.
CALIBRATION_BATCH = 50


def quantise(source: "torch.nn.Module", inputs: "torch.Tensor") -> Any:
    """The module with weights and activations in int8, ranges learned from `inputs` (n, …).

    Symmetric weights with a scale per output channel, activations with a scale and a zero point per tensor:
    what XNNPACK computes in. Biases stay float32 and XNNPACK turns them into int32.
    """
    import torch
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
        XNNPACKQuantizer,
        get_symmetric_quantization_config,
    )
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    any_batch = ({0: torch.export.Dim.DYNAMIC},)
    # An example of one would make the batch a constant.
    example = inputs[:1].repeat_interleave(2, dim=0)
    program = torch.export.export(source, (example,), dynamic_shapes=any_batch)
    settings = get_symmetric_quantization_config(is_per_channel=True, is_dynamic=False)
    prepared = prepare_pt2e(program.module(), XNNPACKQuantizer().set_global(settings))
    for batch in torch.split(inputs, CALIBRATION_BATCH):
        prepared(batch)
    return convert_pt2e(prepared)

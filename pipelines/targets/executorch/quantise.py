"""Post-training quantisation to int8 (PT2E)."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from models.tensors import Tensors, batches, is_ragged
from pipelines.targets.tracing import in_one_tuple

if TYPE_CHECKING:
    import torch

# Samples calibrated at once: one by one, keeping the histograms would take several times as long.
CALIBRATION_BATCH = 50

Sizes = Sequence[dict[int, set[int]]]
"""Of every input the sizes that its dynamic dimensions have, by their place; the batch is none of them."""


def quantise(
    source: "torch.nn.Module", drawn: Tensors, inputs: "tuple[torch.Tensor, ...]", sizes: Sizes
) -> Any:
    """Quantise the module's weights and activations to int8, with ranges learned from the `drawn` samples.

    `inputs` are one row of each input. Symmetric weights with a scale per output channel, activations with a
    scale and a zero point per tensor: what XNNPACK computes in. Biases stay float32 and XNNPACK turns them
    into int32.
    """
    import torch
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import get_symmetric_quantization_config
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    alone = any(map(is_ragged, drawn.values()))
    # An example of one would make the batch a constant, which is right where samples differ in shape.
    example = inputs if alone else tuple(tensor.repeat_interleave(2, dim=0) for tensor in inputs)
    dynamic = dynamic_shapes(source, sizes, any_batch=not alone)
    program = torch.export.export(source, example, dynamic_shapes=dynamic)
    settings = get_symmetric_quantization_config(is_per_channel=True, is_dynamic=False)
    module = program.module()
    prepared = prepare_pt2e(module, quantiser(module).set_global(settings))
    for _, batch in batches(drawn, 1 if alone else CALIBRATION_BATCH):
        prepared(*map(torch.tensor, batch.values()))
    return convert_pt2e(prepared)


def quantiser(module: Any) -> Any:
    """Return XNNPACK's quantiser without the patterns that `module` has no operator for.

    To look for batch normalisation behind a convolution it traces a dozen small modules, which takes longer
    than all else that it does here.
    """
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import XNNPACKQuantizer

    quantizer = XNNPACKQuantizer()
    if not calls(module, "batch_norm"):
        quantizer.SUPPORTED_PATTERNS = [
            pattern for pattern in quantizer.SUPPORTED_PATTERNS if "_bn" not in pattern.name
        ]
    return quantizer


def calls(module: "torch.fx.GraphModule", *names: str) -> bool:
    """Say whether a traced module, or one within it, calls an operator whose name contains one of `names`."""
    import torch

    return any(
        name in str(node.target)
        for part in module.modules()
        if isinstance(part, torch.fx.GraphModule)
        for node in part.graph.nodes
        if node.op == "call_function"
        for name in names
    )


def dynamic_shapes(source: "torch.nn.Module", sizes: Sizes, *, any_batch: bool = False) -> Any:
    """Describe the dimensions that differ to torch.export; None where there is none."""
    import torch

    # Which of them are equal, as those of tokens and their mask, is found out from the module.
    shapes = tuple(
        {place: torch.export.Dim.AUTO(min=1, max=max(lengths)) for place, lengths in each.items()}
        | ({0: torch.export.Dim.DYNAMIC} if any_batch else {})
        for each in sizes
    )
    return in_one_tuple(source, shapes) if any(shapes) else None

"""The source model as one program for a converter: dynamic where its spec says so, with the known cures."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from models.forward import flattened
from models.spec import ModelSpec
from models.tensors import Array, batches
from models.weights import load_source
from pipelines.roads.cures import replace
from pipelines.roads.enlarging import enlarged

if TYPE_CHECKING:
    import torch

Cure = Callable[["torch.nn.Module"], "torch.nn.Module | None"]

# Of one or two, a tracer takes the size for a constant; of eight, it may be somebody's number of heads.
TRACE_BATCH = 3


def load_plain(spec: ModelSpec, cure: Cure | None = None) -> "torch.nn.Module":
    """Load the source model with its outputs as a plain tuple, and without inference-only operators.

    Attention's fast path is one fused operator that no exporter knows; the slow one computes the same. Parts
    for which a `cure` has another form are written anew.

    Raises:
        ModelError: as `load_source`.
    """
    import torch

    torch.backends.mha.set_fastpath_enabled(False)
    names = [output.name for output in spec.outputs]

    class Plain(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = load_source(spec)

        def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
            return tuple(flattened(spec.name, self.model(*inputs), names))

    plain = Plain().eval()
    if cure is not None:
        replace(plain, cure)
    return plain


def traced_inputs(spec: ModelSpec, batch: int) -> "tuple[torch.Tensor, ...]":
    """Return real examples (batch, …) of one shape, repeated if there are not as many.

    Of a dynamic dimension none of size 1 or 0 where there are others: exporters take these for constants.

    Raises:
        ModelError: the model gives none.
    """
    import torch

    dynamic = [[axis for axis, size in enumerate(one.shape) if axis and size is None] for one in spec.inputs]

    def worth(one: tuple[list[int], dict[str, Array]]) -> tuple[bool, int]:
        arrays = zip(one[1].values(), dynamic, strict=True)
        return all(array.shape[axis] > 1 for array, axes in arrays for axis in axes), len(one[0])

    _, found = max(batches(spec.examples().named, batch), key=worth)
    return tuple(torch.from_numpy(filled(array, batch)) for array in found.values())


def filled(array: Array, batch: int) -> Array:
    """Repeat `array` (n, …) as (batch, …): its first rows, from the start again where it has fewer."""
    return np.ascontiguousarray(array[np.arange(batch) % len(array)])


def exported_program(spec: ModelSpec, cure: Cure | None = None) -> "torch.export.ExportedProgram":
    """Export the model with `torch.export`, with the spec's dynamic dimensions.

    Raises:
        Exception: torch's own, whatever the model is not able to.
    """
    import torch

    dim = torch.export.Dim
    inputs = traced_inputs(spec, TRACE_BATCH)
    shapes = tuple(
        {axis: dim.AUTO for axis, size in enumerate(tensor.shape) if size is None} for tensor in spec.inputs
    )
    with torch.no_grad():
        program = torch.export.export(load_plain(spec, cure), inputs, dynamic_shapes=(shapes,), strict=False)
        return enlarged(program)

"""PyTorch module → ExecuTorch programs, float32 and int8, portable and for XNNPACK, and a `.ptl`."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.spec import ModelSpec
from models.weights import load_source
from pipelines.files.atomic import write_atomically
from pipelines.targets.calibration import draw
from pipelines.targets.executorch.lite import write_lite
from pipelines.targets.executorch.payload import constants_in_payload
from pipelines.targets.executorch.quantise import quantise
from pipelines.targets.exported import Exported, NotExported

if TYPE_CHECKING:
    import torch

PORTABLE, XNNPACK = "portable", "xnnpack"
VARIANTS = (PORTABLE, XNNPACK)
# What XNNPACK asks of its constants; without it segments start at multiples of 128, mostly padding here.
ALIGNMENT_BYTES = 16


def export(spec: ModelSpec, folder: Path, progress: Callable[[str], None]) -> list[Exported | NotExported]:
    """Write `NAME_PRECISION_VARIANT.pte` for float32 and int8, portable and xnnpack, and `NAME_float32.ptl`.

    The programs take one sample, batch 1: a device computes one at a time, and a fixed shape lets all memory
    be planned ahead. Their input and output are float32 in either precision. The time of the first file of
    a precision includes what its variants share: tracing, and for int8 calibration.

    Raises:
        ModelError: the checkpoint does not fit, or there is no training sample to calibrate on.
    """
    progress("loading ExecuTorch")
    started = time.monotonic()
    source = folded(load_source(spec))
    entries: list[Exported | NotExported] = []
    for precision in ("float32", "int8"):
        progress(f"tracing {precision} for ExecuTorch")
        program = _traced(spec, source, precision)
        for variant in VARIANTS:
            progress(f"lowering {precision} to {variant}")
            path = folder / f"{spec.name}_{precision}_{variant}.pte"
            write_atomically(path, lower(program, variant))
            entries.append(Exported(path.name, "pte", precision, time.monotonic() - started, variant))
            started = time.monotonic()
    progress("writing the lite interpreter's file")
    return [*entries, write_lite(spec, folder)]


def folded(source: "torch.nn.Module") -> "torch.nn.Module":
    """The module with batch normalisation folded into the convolutions before it, as far as it is traceable.

    XNNPACK and quantisation fold it by themselves; the portable float32 program would compute it every time.
    """
    from torch.fx.experimental.optimization import fuse
    from torch.fx.proxy import TraceError

    try:
        return fuse(source)
    except TraceError:
        return source


def _traced(spec: ModelSpec, source: "torch.nn.Module", precision: str) -> "torch.export.ExportedProgram":
    import torch

    inputs = torch.tensor(draw(spec, spec.examples().inputs))
    with torch.no_grad():
        module = source if precision == "float32" else quantise(source, inputs)
        return torch.export.export(module, (inputs[:1],))


def lower(program: "torch.export.ExportedProgram", variant: str) -> bytes:
    """The `.pte` file of a program, without stack traces; its operators stay portable or go to XNNPACK."""
    from executorch.exir import ExecutorchBackendConfig, to_edge_transform_and_lower

    config = ExecutorchBackendConfig(segment_alignment=ALIGNMENT_BYTES, emit_stacktrace=False)
    _register_quantised_operators()
    with constants_in_payload():
        edge = to_edge_transform_and_lower(program, partitioner=_partitioners(variant))
    return bytes(edge.to_executorch(config).buffer)


def _register_quantised_operators() -> None:
    """Make the out-variants of quantised operators known to torch; the portable int8 program names them."""
    import executorch.kernels.quantized  # noqa: F401 - importing it is what registers them


def _partitioners(variant: str) -> list[Any]:
    if variant == PORTABLE:
        return []
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner

    return [XnnpackPartitioner()]

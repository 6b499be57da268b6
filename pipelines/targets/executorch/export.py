"""PyTorch module → ExecuTorch programs, float32 and int8, portable and for XNNPACK, and a `.ptl`."""

import importlib
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from models.spec import ModelSpec
from models.tensors import samples, shapes
from pipelines.files.atomic import write_atomically
from pipelines.targets.calibration import draw, nothing_to_calibrate_on
from pipelines.targets.executorch.lite import write_lite
from pipelines.targets.executorch.payload import constants_in_payload
from pipelines.targets.executorch.quantise import Sizes, calls, dynamic_shapes, quantise
from pipelines.targets.executorch.runtime import missing_operators
from pipelines.targets.exported import Exported, NotExported
from pipelines.targets.tracing import Traceable, dynamic_axes, flat, hushed, traceable, why
from pipelines.tasks.warned import note

if TYPE_CHECKING:
    import torch

PORTABLE, XNNPACK = "portable", "xnnpack"
VARIANTS = (PORTABLE, XNNPACK)
PRECISIONS = ("float32", "int8")
# What XNNPACK asks of its constants; without it segments start at multiples of 128, mostly padding here.
ALIGNMENT_BYTES = 16
# What XNNPACK looks for in every program by modules that it traces first: resizing, and attention. Each with
# the operators, by a part of their names, one of which a program has if it can match.
PATTERNS = {
    ("bilinear_2d", "get_graphs_dict", dict): ("upsample", "interpolate"),
    ("sdpa", "get_graphs", list): ("softmax", "attention", "scaled_dot_product"),
}


def export(spec: ModelSpec, folder: Path, progress: Callable[[str], None]) -> list[Exported | NotExported]:
    """Write `NAME_PRECISION_VARIANT.pte` for float32 and int8, portable and xnnpack, and `NAME_float32.ptl`.

    The programs take one sample, batch 1: a device computes one at a time, and a fixed shape lets all memory
    be planned ahead. A dynamic dimension is planned up to the longest example's, and said so. Inputs and
    outputs have the model's dtypes in either precision. The time of the first file of a precision includes
    what its variants share: tracing, and for int8 calibration. What cannot be had is listed with its reason.

    Raises:
        ModelError: the checkpoint does not fit, or forward gives something else than the outputs.
    """
    progress("loading ExecuTorch")
    started = time.monotonic()
    model = traceable(spec)
    sizes = sizes_of(spec)
    entries: list[Exported | NotExported] = []
    for precision in PRECISIONS:
        progress(f"tracing {precision} for ExecuTorch")
        try:
            program = traced(model, precision, sizes)
        except _RefusedError as error:
            entries += [NotExported("pte", precision, str(error), variant) for variant in VARIANTS]
            continue
        for variant in VARIANTS:
            progress(f"lowering {precision} to {variant}")
            path = folder / f"{spec.name}_{precision}_{variant}.pte"
            try:
                content = lower(program, variant)
            except _RefusedError as refused:
                entries.append(NotExported("pte", precision, str(refused), variant))
                continue
            except Exception as error:  # noqa: BLE001 - of one variant alone, whatever the lowering raised
                entries.append(NotExported("pte", precision, why(error), variant))
                continue
            write_atomically(path, content)
            entries.append(Exported(path.name, "pte", precision, time.monotonic() - started, variant))
            started = time.monotonic()
    progress("writing the lite interpreter's file")
    return [*entries, write_lite(model, folder)]


class _RefusedError(Exception):
    """This precision is not possible; the message says why, in one line."""


def sizes_of(spec: ModelSpec) -> Sizes:
    """Return the sizes that each input's dynamic dimensions have in all samples, by their place."""
    by_input: Sizes = tuple(
        {place: set() for place in dynamic_axes(tensor) if place} for tensor in spec.inputs
    )
    if not any(by_input):
        return by_input
    for examples in (spec.examples(), spec.samples()):
        for example in samples(examples.named):
            for sizes, shape in zip(by_input, shapes(example), strict=True):
                for place in sizes:
                    sizes[place].add(shape[place - 1])
    limits = [
        f"{tensor.name} up to {max(lengths)} in dimension {place}"
        for tensor, sizes in zip(spec.inputs, by_input, strict=True)
        for place, lengths in sizes.items()
    ]
    note(f"ExecuTorch plans memory ahead: its programs take {', '.join(limits)}, the largest of the samples")
    return by_input


def folded(source: "torch.nn.Module") -> "torch.nn.Module":
    """Fold batch normalisation into the convolutions before it, as far as the module is traceable.

    XNNPACK and quantisation fold it by themselves; the portable float32 program would compute it every time.
    """
    import torch
    from torch.fx.experimental.optimization import fuse

    if not any(isinstance(part, torch.nn.modules.batchnorm._BatchNorm) for part in source.modules()):
        return source
    try:
        return fuse(source)
    except Exception:  # noqa: BLE001 - whatever forward does with a stand-in for a tensor
        return source


def traced(model: Traceable, precision: str, sizes: Sizes) -> "torch.export.ExportedProgram":
    """Trace the program of one sample in a precision.

    Raises:
        _RefusedError: it cannot be traced or quantised, or a dynamic dimension became fixed.
    """
    import torch

    spec = model.spec
    drawn = draw(spec) if precision == "int8" else None
    if precision == "int8" and drawn is None:
        raise _RefusedError(nothing_to_calibrate_on(spec))
    source = flat(spec, folded(model.source), model.inputs)
    inputs = tuple(tensor[:1] for tensor in model.inputs)
    try:
        with hushed(), torch.no_grad():
            module = source if drawn is None else quantise(source, drawn, inputs, sizes)
            program = torch.export.export(module, inputs, dynamic_shapes=dynamic_shapes(module, sizes))
    except Exception as error:
        raise _RefusedError(why(error)) from error
    _require_dynamic(spec, program, sizes)
    return program


def _require_dynamic(spec: ModelSpec, program: "torch.export.ExportedProgram", sizes: Sizes) -> None:
    """Raise _RefusedError if the program fixes a dimension whose size differs between samples."""
    values = [node.meta["val"] for node in program.graph.nodes if node.op == "placeholder"]
    placeholders = values[len(values) - len(spec.inputs) :]
    for tensor, value, dimensions in zip(spec.inputs, placeholders, sizes, strict=True):
        for place, lengths in dimensions.items():
            # A size that is known is written as a number, also where it is an expression.
            fixed = str(value.shape[place])
            if fixed.isdecimal() and len(lengths) > 1:
                raise _RefusedError(
                    f"its operators fix dimension {place} of {tensor.name} at {fixed}, as loops do that are "
                    "unrolled (LSTM, GRU), and samples have other sizes; pad them to one size and give it in "
                    "the TensorSpec"
                )


def lower(program: "torch.export.ExportedProgram", variant: str) -> bytes:
    """Lower a program to a `.pte` file without stack traces; operators stay portable or go to XNNPACK.

    Raises:
        _RefusedError: ExecuTorch writes programs of operators that its runtime has not; this one calls some.
    """
    from executorch.exir import ExecutorchBackendConfig, to_edge_transform_and_lower

    config = ExecutorchBackendConfig(segment_alignment=ALIGNMENT_BYTES, emit_stacktrace=False)
    _register_quantised_operators()
    with constants_in_payload(), only_needed_patterns(program):
        edge = to_edge_transform_and_lower(program, partitioner=_partitioners(variant))
    lowered = edge.to_executorch(config)
    named = [one for plan in lowered.executorch_program.execution_plan for one in plan.operators]
    missing = missing_operators([f"{one.name}.{one.overload}".removesuffix(".") for one in named])
    if missing:
        raise _RefusedError(
            f"ExecuTorch's runtime has no {', '.join(missing)}; express that part with other operators"
        )
    return bytes(lowered.buffer)


@contextmanager
def only_needed_patterns(program: "torch.export.ExportedProgram") -> Iterator[None]:
    """Leave out XNNPACK's patterns that no operator of `program` can match: to trace one takes seconds."""
    with ExitStack() as replaced:
        for (module, function, empty), operators in PATTERNS.items():
            if not calls(program.graph_module, *operators):
                name = f"executorch.backends.xnnpack.partition.graphs.{module}"
                replaced.enter_context(patch.object(importlib.import_module(name), function, empty))
        yield


def _register_quantised_operators() -> None:
    """Make the out-variants of quantised operators known to torch; the portable int8 program names them."""
    import executorch.kernels.quantized  # noqa: F401 - importing it is what registers them


def _partitioners(variant: str) -> list[Any]:
    if variant == PORTABLE:
        return []
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner

    return [XnnpackPartitioner()]

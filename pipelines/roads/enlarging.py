"""Enlarging to the nearest pixel by whole factors, written anew: every value repeated, whatever the size is.

Torch's own form looks pixels up at places that it computes in floats of the size, which no converter does
with a size that is dynamic.
"""

import warnings
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

OPERATORS = ("upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d")
BEFORE = 2  # batch and channels


def enlarged(program: "torch.export.ExportedProgram") -> "torch.export.ExportedProgram":
    """Rewrite what enlarges a dynamic size by whole factors; a program without any stays as it is."""
    import torch

    operators = {getattr(torch.ops.aten, name).vec for name in OPERATORS}
    found = {
        node.target
        for node in program.graph.nodes
        if node.target in operators and _factors(node.args) and _is_dynamic(node.args[0].meta["val"])
    }
    if not found:
        return program
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch's, of what torch itself copies
        table: Any = dict.fromkeys(found, _repeated)
        rewritten: torch.export.ExportedProgram = program.run_decompositions(table)
        return rewritten


def _repeated(x: Any, size: Any, factors: Any) -> Any:
    """Repeat each value along each axis behind the batch and the channels; not ours to do: NotImplemented."""
    whole = _factors((x, size, factors))
    if whole is None:
        return NotImplemented
    for axis, factor in enumerate(whole, BEFORE):
        apart = x.unsqueeze(axis + 1)
        apart = apart.expand(*apart.shape[: axis + 1], factor, *apart.shape[axis + 2 :])
        x = apart.reshape(*x.shape[:axis], x.shape[axis] * factor, *x.shape[axis + 1 :])
    return x


def _factors(args: Any) -> list[int] | None:
    """Return the whole factors of a call, None where it gives sizes or other factors."""
    _, size, factors = args
    if size is not None or factors is None or any(factor < 1 or factor % 1 for factor in factors):
        return None
    return [int(factor) for factor in factors]


def _is_dynamic(x: Any) -> bool:
    return any(not isinstance(size, int) for size in x.shape[BEFORE:])

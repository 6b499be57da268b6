"""PyTorch module → TorchScript file that says its own inputs and outputs, as in TorchServe's archive."""

import time
from collections.abc import Callable
from pathlib import Path

from models.spec import ModelSpec
from pipelines.targets.exported import Exported
from pipelines.targets.torchserve.export import write_torchscript
from pipelines.targets.tracing import traceable


def export(spec: ModelSpec, folder: Path, progress: Callable[[str], None]) -> list[Exported]:
    """Write `NAME.pt` into `folder`.

    Raises:
        ModelError: the module cannot be traced, or what was traced is another function.
    """
    progress("tracing TorchScript")
    started = time.monotonic()
    script = folder / f"{spec.name}.pt"
    write_torchscript(traceable(spec), script)
    return [Exported(script.name, "torchscript", "float32", time.monotonic() - started)]

"""PyTorch module → TorchScript file that says its own inputs and outputs, as in TorchServe's archive."""

import time
from collections.abc import Callable
from pathlib import Path

from models.spec import ModelSpec
from pipelines.targets.exported import Exported
from pipelines.targets.torchserve.export import write_torchscript


def export(spec: ModelSpec, folder: Path, progress: Callable[[str], None]) -> list[Exported]:
    """Write `NAME.pt` into `folder`."""
    progress("tracing TorchScript")
    started = time.monotonic()
    script = folder / f"{spec.name}.pt"
    write_torchscript(spec, script)
    return [Exported(script.name, "torchscript", "float32", time.monotonic() - started)]

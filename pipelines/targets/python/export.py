"""PyTorch module → TorchScript file that says its own inputs and outputs, as in TorchServe's archive."""

from collections.abc import Callable
from pathlib import Path

from models.spec import ModelSpec
from pipelines.targets.exported import Exported
from pipelines.targets.torchserve.export import write_torchscript


def export(spec: ModelSpec, folder: Path, progress: Callable[[str], None]) -> list[Exported]:
    """Write `NAME.pt` into `folder`.

    Raises:
        ModelError: the module cannot be traced, or what was traced is another function.
    """
    progress("tracing TorchScript")
    script = folder / f"{spec.name}.pt"
    return [Exported(script.name, "torchscript", "float32", write_torchscript(spec, script))]

"""What is inside artifacts, and what running them imports; run in a process of its own, as a task."""

import importlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from models import tensors


def inspect_here(
    runtime: str,
    artifacts: Sequence[tuple[str, str]],
    samples: str,
    outputs: Sequence[str],
    progress: Callable[[str], None],
) -> dict[str, Any]:
    """Run each artifact, given as (path, format), once, then look into it.

    Args:
        samples: a file of samples, as `models.tensors.save` writes it.
        outputs: names of the model's outputs, in order.

    Returns:
        `inspections` in the order of `artifacts`, and `modules`: the names of everything that running them
        imported, in the order it came.
    """
    sample = tensors.sample(tensors.load(Path(samples)), 0)
    before = set(sys.modules)
    module = importlib.import_module(runtime)
    for path, artifact_format in artifacts:
        progress(f"opening {Path(path).name}")
        model = module.open_model(Path(path), artifact_format, 1, outputs)
        model.set_inputs(sample)
        model.invoke()
        model.outputs()
        del model
    modules = [name for name in sys.modules if name not in before]
    inspections = [asdict(module.inspect(Path(path), artifact_format)) for path, artifact_format in artifacts]
    return {"modules": modules, "inspections": inspections}

"""What is inside artifacts, and what running them imports; run in a process of its own, as a task."""

import importlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from models import tensors
from pipelines.targets.in_process import Inspection


@dataclass(frozen=True)
class Inspected:
    """What is inside artifacts, in their order, and the names of all modules that running them imported."""

    inspections: tuple[Inspection, ...]
    modules: tuple[str, ...]


def inspect_here(
    progress: Callable[[str], None],
    runtime: str,
    artifacts: Sequence[tuple[Path, str]],
    samples: Path,
    outputs: Sequence[str],
) -> Inspected:
    """Run each artifact, given as (path, format), once, then look into it.

    Args:
        runtime: name of the target's runtime module.
        samples: a file of samples, as `models.tensors.save` writes it.
        outputs: names of the model's outputs, in order.
    """
    sample = tensors.sample(tensors.load(samples), 0)
    before = set(sys.modules)
    module = importlib.import_module(runtime)
    for path, artifact_format in artifacts:
        progress(f"opening {path.name}")
        model = module.open_model(path, artifact_format, 1, outputs)
        model.set_inputs(sample)
        model.invoke()
        model.outputs()
        del model
    modules = tuple(name for name in sys.modules if name not in before)
    return Inspected(tuple(module.inspect(*artifact) for artifact in artifacts), modules)

"""The targets that have containers, each as the container.py in its folder describes it."""

import importlib

from pipelines.targets.container import Contained
from pipelines.targets.registry import TARGETS


def _contained(module: str) -> Contained:
    contained = importlib.import_module(module).CONTAINED
    if not isinstance(contained, Contained):
        raise TypeError(f"CONTAINED of {module} is a {type(contained).__name__}")
    return contained


CONTAINED = {name: _contained(target.container) for name, target in TARGETS.items() if target.container}

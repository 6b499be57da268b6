"""The library that runs a target's artifacts in process, as it is installed here."""

import importlib
from functools import cache

from pipelines.targets.in_process import RuntimeLibrary
from pipelines.targets.registry import TARGETS


@cache
def installed_library(target: str, artifact_format: str) -> RuntimeLibrary:
    """Return the library that artifacts of that format need; look at files and import no framework.

    Raises:
        MachineError: it is not installed.
    """
    module = importlib.import_module(TARGETS[target].runtime_module)
    library: RuntimeLibrary = module.runtime_library(artifact_format)
    return library

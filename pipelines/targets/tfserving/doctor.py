"""What TensorFlow Serving needs of this machine: TensorFlow, and the vendor's binary if it is there."""

import shutil

from pipelines.artifacts.manifest import tensorflow_package
from pipelines.targets.needs import Check, package
from pipelines.targets.tfserving.server import BINARY, find_implementation


def checks() -> list[Check]:
    """Look at all of it; a binary is started to ask its version."""
    return [*map(package, (tensorflow_package(), "tensorflow-serving-api")), _model_server()]


def _model_server() -> Check:
    implementation = find_implementation()
    if implementation.stand_in:
        remedy = f"put {BINARY} on PATH for TensorFlow Serving itself; without it the embedded server answers"
        there = shutil.which(BINARY)
        found_text = f"{there} does not start" if there else "not on PATH"
        return Check(BINARY, ok=False, required=False, found=found_text, remedy=remedy)
    return Check(BINARY, ok=True, required=False, found=implementation.version, remedy=None)

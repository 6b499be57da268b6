"""Which version of a model a gRPC request asks for; REST has it in the path.

A model is written as the paths of its server's REST API go on: `m`, `m/versions/3`, `m/labels/stable`, `m/3`.
"""

from typing import Any, Final

VERSIONS: Final = "versions"
LABELS: Final = "labels"


def split_version(model: str) -> tuple[str, str, str]:
    """Split `m/versions/3` into name, the word before the version, and version; empty where missing."""
    name, _, rest = model.partition("/")
    word, _, version = rest.rpartition("/")
    return name, word, version


def fill_model_spec(spec: Any, model: str) -> None:
    """Write the name, and the version or its label, into a `ModelSpec` of TensorFlow Serving."""
    spec.name, word, version = split_version(model)
    if word == VERSIONS:
        spec.version.value = int(version)
    elif word == LABELS:
        spec.version_label = version

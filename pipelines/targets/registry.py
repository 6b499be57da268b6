"""The targets, by name. Dotted paths, so that naming a target imports no framework."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from models import weights
from pipelines.artifacts.manifest import tensorflow_package
from pipelines.errors import RequestError

TARGETS_FOLDER = Path(__file__).parent
# How weights get into the Keras twin decides every TensorFlow artifact.
WEIGHTS = Path(weights.__file__)
# The draw of samples decides every file of full integers.
CALIBRATION = TARGETS_FOLDER / "calibration.py"
# Modules of a target's folder that decide how an artifact runs, not what is in it.
RUN_ONLY = ("__init__.py", "archive.py", "configuration.py", "runtime.py", "server.py")


@dataclass(frozen=True)
class Target:
    """One way to deploy a model.

    Attributes:
        name: as people type it.
        framework: targets of one framework are exported by one process.
        toolchain: distributions whose versions decide the exported files.
        export: "module:function" (spec, folder, progress) -> list of `Exported` and `NotExported`.
        runtime: "module:function" (artifact path, format, inputs) -> outputs, from files alone.
        shared_sources: files outside the target's folder that decide an export too.
        server: "module:function" that plans a server; None for targets that run in process.
    """

    name: str
    framework: str
    toolchain: tuple[str, ...]
    export: str
    runtime: str
    server: str | None
    shared_sources: tuple[Path, ...] = ()

    @property
    def sources(self) -> list[Path]:
        """Our own files that decide what an export contains."""
        own = [path for path in (TARGETS_FOLDER / self.name).glob("*.py") if path.name not in RUN_ONLY]
        return [*sorted(own), *self.shared_sources]


TORCHSERVE = Target(
    name="torchserve",
    framework="torch",
    toolchain=("torch", "torch-model-archiver"),
    export="pipelines.targets.torchserve.export:export",
    runtime="pipelines.targets.torchserve.runtime:predict",
    server="pipelines.targets.torchserve.server:plan",
)
TFSERVING = Target(
    name="tfserving",
    framework="tensorflow",
    toolchain=(tensorflow_package(), "keras", "tensorflow-serving-api"),
    export="pipelines.targets.tfserving.export:export",
    runtime="pipelines.targets.tfserving.runtime:predict",
    server="pipelines.targets.tfserving.server:plan",
    shared_sources=(WEIGHTS,),
)
TFLITE = Target(
    name="tflite",
    framework="tensorflow",
    toolchain=(tensorflow_package(), "keras", "ai-edge-litert"),
    export="pipelines.targets.tflite.export:export",
    runtime="pipelines.targets.tflite.runtime:predict",
    server=None,
    shared_sources=(TARGETS_FOLDER / "tfserving" / "export.py", CALIBRATION, WEIGHTS),
)
EXECUTORCH = Target(
    name="executorch",
    framework="executorch",
    toolchain=("torch", "executorch", "torchao"),
    export="pipelines.targets.executorch.export:export",
    runtime="pipelines.targets.executorch.runtime:predict",
    server=None,
    shared_sources=(CALIBRATION,),
)
ONNX = Target(
    name="onnx",
    framework="torch",
    toolchain=("torch", "onnx", "onnxruntime"),
    export="pipelines.targets.onnx.export:export",
    runtime="pipelines.targets.onnx.runtime:predict",
    server=None,
)
TARGETS = {target.name: target for target in (TORCHSERVE, TFSERVING, TFLITE, EXECUTORCH, ONNX)}
SERVED = tuple(target.name for target in TARGETS.values() if target.server)
IN_PROCESS = tuple(target.name for target in TARGETS.values() if not target.server)


def find_target(name: str, among: Sequence[str] = tuple(TARGETS)) -> Target:
    """The target called `name`.

    Raises:
        RequestError: there is none of that name, with the nearest one and all allowed.
    """
    if name not in among:
        near = difflib.get_close_matches(name, among, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise RequestError(f"unknown target {name!r}; {hint}allowed: {', '.join(among)}")
    return TARGETS[name]

"""The targets, by name. Dotted paths, so that naming a target imports no framework."""

import importlib
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from models import weights
from pipelines.artifacts.manifest import tensorflow_package
from pipelines.errors import RequestError, unknown
from pipelines.targets.protocols import (
    OIP_METHOD,
    OIP_PATH,
    TFSERVING_METHOD,
    TFSERVING_PATH,
    TORCHSERVE_METHOD,
    TORCHSERVE_PATH,
    Protocol,
)
from pipelines.targets.target import TARGETS_FOLDER, Target

# How weights get into the Keras twin decides every TensorFlow artifact.
WEIGHTS = Path(weights.__file__)
# The draw of samples decides every file of full integers.
CALIBRATION = TARGETS_FOLDER / "calibration.py"
# What is traced, and what is proven of it.
TRACING = TARGETS_FOLDER / "tracing.py"
# How imported files are taken over, by what is shared for that.
IMPORTS = TARGETS_FOLDER / "imports.py"
# Modules of other people's targets, comma-separated; each holds a `Target` called TARGET.
VARIABLE = "TANDEM_TARGETS"

ARCHIVED = ("export.py", "handler.py", "tandem_bodies.py")
# A program by itself, or the one in an archive.
PROGRAM = (("torchscript", "torchscript"), ("mar", "torchserve-archive"))

TORCHSERVE = Target(
    name="torchserve",
    framework="torch",
    toolchain=("torch", "torch-model-archiver"),
    export="pipelines.targets.torchserve.export:export",
    runtime="pipelines.targets.torchserve.runtime:predict",
    server="pipelines.targets.torchserve.server:plan",
    checks="pipelines.targets.torchserve.checks",
    container="pipelines.targets.torchserve.container",
    doctor="pipelines.targets.torchserve.doctor",
    title="TorchServe",
    serving=("torchserve",),
    traces=True,
    shared_sources=(TRACING,),
    protocols=(
        *(Protocol("http", codec, TORCHSERVE_PATH) for codec in ("json-rows", "json-columns", "npy", "raw")),
        Protocol("grpc", "tensor-map", TORCHSERVE_METHOD),
    ),
    settings="pipelines.targets.torchserve.settings:TorchServeSettings",
    tuning="pipelines.targets.torchserve.tuning:axes",
    imports=PROGRAM[::-1],
    place="pipelines.targets.torchserve.imported:place",
    placing=(IMPORTS,),
    archives=True,
    run_only=("configuration", "timings", "workers"),
)
PYTHON = Target(
    name="python",
    framework="torch",
    toolchain=("torch",),
    export="pipelines.targets.python.export:export",
    runtime="pipelines.targets.torchserve.runtime:predict",
    server="pipelines.targets.python.server:plan",
    checks="pipelines.targets.python.checks",
    container="pipelines.targets.python.container",
    title="Plain Python server",
    protocols=(Protocol("http", "json-rows", "/predict"),),
    serving=("fastapi", "uvicorn", "orjson"),
    traces=True,
    settings="pipelines.targets.python.settings:PythonSettings",
    tuning="pipelines.targets.python.tuning:axes",
    shared_sources=(TARGETS_FOLDER / "torchserve" / "export.py", TRACING),
    imports=PROGRAM,
    place="pipelines.targets.python.imported:place",
    placing=(IMPORTS,),
    run_only=("app", "configuration", "timings"),
)
TORCHSERVE_PT2 = replace(
    TORCHSERVE,
    name="torchserve-pt2",
    export="pipelines.targets.torchserve_pt2.export:export",
    server="pipelines.targets.torchserve_pt2.server:plan",
    doctor="pipelines.targets.torchserve_pt2.doctor",
    container=None,
    title="TorchServe with .pt2",
    presets_of="torchserve",
    on_request=True,
    folder=TARGETS_FOLDER / "torchserve_pt2",
    shared_sources=(*(TARGETS_FOLDER / "torchserve" / name for name in ARCHIVED), TRACING),
    imports=(),
    place=None,
    placing=(),
    run_only=(),
)
TFSERVING = Target(
    name="tfserving",
    framework="tensorflow",
    toolchain=(tensorflow_package(), "keras", "tensorflow-serving-api"),
    export="pipelines.targets.tfserving.export:export",
    runtime="pipelines.targets.tfserving.runtime:predict",
    server="pipelines.targets.tfserving.server:plan",
    checks="pipelines.targets.tfserving.checks",
    container="pipelines.targets.tfserving.container",
    doctor="pipelines.targets.tfserving.doctor",
    title="TensorFlow Serving",
    protocols=(
        *(
            Protocol("http", codec, TFSERVING_PATH, refused_dtypes=("float16",))
            for codec in ("json-rows", "json-columns")
        ),
        Protocol("grpc", "tensor-proto", TFSERVING_METHOD),
    ),
    settings="pipelines.targets.tfserving.settings:TFServingSettings",
    tuning="pipelines.targets.tfserving.tuning:axes",
    roads=("twin", "torchax", "onnx2tf"),
    strings=True,
    shared_sources=(WEIGHTS,),
    imports=(("saved_model", "saved-model"),),
    place="pipelines.targets.tfserving.imported:place",
    placing=(IMPORTS,),
    run_only=("compiled", "configuration", "timings"),
)
MLSERVER = Target(
    name="mlserver",
    framework="torch",
    toolchain=("torch",),
    export="pipelines.targets.python.export:export",
    runtime="pipelines.targets.torchserve.runtime:predict",
    server="pipelines.targets.mlserver.server:plan",
    checks="pipelines.targets.mlserver.checks",
    container="pipelines.targets.mlserver.container",
    environment="mlserver",
    title="MLServer",
    protocols=(
        Protocol("http", "oip-json", OIP_PATH),
        Protocol("grpc", "oip-grpc", OIP_METHOD),
    ),
    traces=True,
    settings="pipelines.targets.mlserver.settings:MLServerSettings",
    tuning="pipelines.targets.mlserver.tuning:axes",
    shared_sources=(
        TARGETS_FOLDER / "python" / "export.py",
        TARGETS_FOLDER / "torchserve" / "export.py",
        TRACING,
    ),
    imports=PROGRAM,
    place=PYTHON.place,
    placing=(TARGETS_FOLDER / "python" / "imported.py", IMPORTS),
    run_only=("model", "timings"),
)
TRITON = Target(
    name="triton",
    framework="torch",
    toolchain=("torch",),
    export="pipelines.targets.python.export:export",
    runtime="pipelines.targets.torchserve.runtime:predict",
    server="pipelines.targets.triton.server:plan",
    checks="pipelines.targets.triton.checks",
    container="pipelines.targets.triton.container",
    environment="triton",
    title="NVIDIA Triton",
    protocols=(
        Protocol("http", "oip-json", OIP_PATH, refused_dtypes=("float16",)),
        Protocol("http", "oip-binary", OIP_PATH),
        Protocol("grpc", "oip-grpc", OIP_METHOD),
    ),
    traces=True,
    settings="pipelines.targets.triton.settings:TritonSettings",
    tuning="pipelines.targets.triton.tuning:axes",
    shared_sources=MLSERVER.shared_sources,
    imports=PROGRAM,
    place=PYTHON.place,
    placing=MLSERVER.placing,
    run_only=("configuration", "model", "timings"),
)
TFLITE = Target(
    name="tflite",
    framework="tensorflow",
    toolchain=(tensorflow_package(), "keras", "ai-edge-litert"),
    export="pipelines.targets.tflite.export:export",
    runtime="pipelines.targets.tflite.runtime:predict",
    doctor="pipelines.targets.tflite.doctor",
    server=None,
    road="TensorFlow's road",
    shared_sources=(TARGETS_FOLDER / "tfserving" / "export.py", CALIBRATION, WEIGHTS),
    roads=("twin", "litert", "onnx2tf"),
    imports=(("tflite", "tflite"),),
    place="pipelines.targets.tflite.imported:place",
    placing=(IMPORTS,),
)
EXECUTORCH = Target(
    name="executorch",
    framework="executorch",
    toolchain=("torch", "executorch", "torchao"),
    export="pipelines.targets.executorch.export:export",
    runtime="pipelines.targets.executorch.runtime:predict",
    server=None,
    road="PyTorch's road",
    traces=True,
    shared_sources=(CALIBRATION, TRACING),
)
ONNX = Target(
    name="onnx",
    framework="torch",
    toolchain=("torch", "onnx", "onnxruntime", "onnxscript"),
    export="pipelines.targets.onnx.export:export",
    runtime="pipelines.targets.onnx.runtime:predict",
    server=None,
    road="read by both worlds",
    traces=True,
    shared_sources=(TRACING,),
    imports=(("onnx", "onnx"),),
    place="pipelines.targets.onnx.imported:place",
    placing=(IMPORTS,),
)
BUILT_IN = {
    target.name: target
    for target in (TORCHSERVE, TFSERVING, PYTHON, MLSERVER, TRITON, TORCHSERVE_PT2, TFLITE, EXECUTORCH, ONNX)
}


def added_targets(modules: str) -> dict[str, Target]:
    """Import the targets of other people's modules, by name.

    Raises:
        RequestError: a module cannot be imported, holds no target, or one whose name is taken.
    """
    added: dict[str, Target] = {}
    for module in filter(None, (name.strip() for name in modules.split(","))):
        try:
            target = importlib.import_module(module).TARGET
        except (ImportError, AttributeError) as error:
            raise RequestError(f"{VARIABLE} names {module}, which holds no target: {error}") from error
        if not isinstance(target, Target):
            raise RequestError(f"{VARIABLE} names {module}, whose TARGET is a {type(target).__name__}")
        if target.name in BUILT_IN or target.name in added:
            raise RequestError(f"{VARIABLE} names {module}, whose target {target.name!r} is there already")
        added[target.name] = target
    return added


TARGETS = {**BUILT_IN, **added_targets(os.environ.get(VARIABLE, ""))}
ORDINARY = tuple(target.name for target in TARGETS.values() if not target.on_request)
SERVED = tuple(target.name for target in TARGETS.values() if target.server)
COMPARED = ("torchserve", "tfserving")
"""The roads to a server that are set side by side where none is named."""
USUALLY_SERVED = tuple(name for name in SERVED if name in ORDINARY)
IN_PROCESS = tuple(target.name for target in TARGETS.values() if not target.server)


def find_target(name: str, among: Sequence[str] = tuple(TARGETS)) -> Target:
    """Return the target called `name`.

    Raises:
        RequestError: there is none of that name, with the nearest one and all allowed.
    """
    if name not in among:
        raise unknown("target", name, among)
    return TARGETS[name]


def product_name(target: str) -> str | None:
    """Return the name of the product a target is named after, for people; None if there is none."""
    return TARGETS[target].title if target in TARGETS else None

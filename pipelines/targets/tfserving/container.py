"""TensorFlow Serving, or the embedded server, in a container: what its images hold, and how it is asked."""

from dataclasses import replace
from importlib import metadata
from pathlib import Path

from pipelines.targets.container import Contained, Inside
from pipelines.targets.endpoint import Configuration
from pipelines.targets.image import Question, ServerImage
from pipelines.targets.protocols import TFSERVING_PATH
from pipelines.targets.target import TARGETS_FOLDER
from pipelines.targets.tfserving import embedded
from pipelines.targets.tfserving.configuration import from_flags
from pipelines.targets.tfserving.server import model_status

STAND_IN_NOTE = (
    "not TensorFlow Serving: Tandem's own server on the TensorFlow runtime, speaking the same API; "
    "run where its official image can be pulled to measure the real one"
)
# Exporters and converters, other runtimes, and what only building packages needs.
EMBEDDED_WITHOUT = (
    *("ai-edge-litert", "backports-strenum", "libclang", "safetensors", "setuptools", "tqdm", "wheel"),
)
PACKAGE = TARGETS_FOLDER.parent
EMBEDDED_MODULES = (
    *(PACKAGE / name for name in ("__init__.py", "import_path.py", "errors.py")),
    *(TARGETS_FOLDER / "__init__.py", Path(__file__).with_name("__init__.py")),
    *sorted(Path(embedded.__file__).parent.glob("*.py")),
)
VENDORS = ServerImage(
    key="tfserving",
    artifact_format="saved-model",
    implementation="docker",
    question=Question(TFSERVING_PATH),
    settings=("monitoring.config",),
    vendor="tensorflow-serving",
)
EMBEDDED = replace(
    VENDORS,
    key="tfserving-embedded",
    implementation=embedded.SERVER_NAME,
    locks=("tensorflow",),
    without=EMBEDDED_WITHOUT,
    # TensorFlow is one distribution or the other, by machine.
    versions_of=("tensorflow-cpu", "tensorflow", "tensorflow-serving-api", "numpy", "grpcio"),
    versions={"tandem-serving": metadata.version("tandem-serving")},
    imports=(
        *("tensorflow", "grpc", "uvloop", "httptools", "rapidjson"),
        "tensorflow_serving.apis.prediction_log_pb2",
    ),
    trim=("tfserving-embedded/trim.txt",),
    app={path.relative_to(PACKAGE.parent).as_posix(): path for path in EMBEDDED_MODULES},
    vendor=None,
)


def _configuration(model: str, inside: Inside) -> Configuration:  # noqa: ARG001 - not needed
    """Read what the serving process was started with; files that its flags name are inside too."""

    def read(path: str) -> str | None:
        code, text = inside.execute(["cat", path])
        return text if code == 0 else None

    for argv in inside.commands:
        if any(word.startswith("--model_base_path") for word in argv):
            embedded = any(word.endswith(".embedded") for word in argv)
            return from_flags(argv, inside.cores_count, embedded=embedded, read=read)
    return {}


CONTAINED = Contained(
    service="tfserving",
    rest_port=8501,
    grpc_port=8500,
    status=lambda base_url, model, _: model_status(base_url, model),
    configuration=_configuration,
    images=(VENDORS, EMBEDDED),
    telling=("tensorflow-serving", "tandem-serving", "tensorflow-cpu", "tensorflow"),
    fallback=("embedded", STAND_IN_NOTE),
)

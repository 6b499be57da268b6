"""Triton in a container: what its image holds, and how it is asked."""

from pipelines.targets.container import PROBE, Contained, Inside, asked_inside, oip_status
from pipelines.targets.endpoint import Configuration
from pipelines.targets.image import OIP_QUESTION, ServerImage
from pipelines.targets.python.container import WITHOUT
from pipelines.targets.torchserve.container import TRIM_TORCH
from pipelines.targets.triton import configuration as triton
from pipelines.targets.triton.server import FAILURE, NAME, RUNTIME, SERVER_VERSION

REST_PORT, GRPC_PORT, METRICS_PORT = 8000, 8001, 8002
IMAGE = ServerImage(
    key="triton",
    artifact_format="torchscript",
    implementation=NAME,
    question=OIP_QUESTION,
    locks=("torch", "roads/triton"),
    without=WITHOUT,
    versions_of=("nvidia-pytriton", "torch", "numpy"),
    versions={"tritonserver": SERVER_VERSION},
    imports=("torch", "torch.utils.dlpack", "numpy"),
    trim=(TRIM_TORCH, "triton/trim.txt"),
    app={RUNTIME.name: RUNTIME},
)


def _configuration(model: str, inside: Inside) -> Configuration:
    """Ask inside for the server's report of the model, and for our runtime's figures in its metrics."""
    config = asked_inside(inside.execute, REST_PORT, f"/v2/models/{model}/config")
    _, metrics = inside.execute([PROBE, "get", str(METRICS_PORT), "/metrics"])
    return triton.configuration(config, metrics)


CONTAINED = Contained(
    service="triton",
    rest_port=REST_PORT,
    grpc_port=GRPC_PORT,
    status=oip_status,
    configuration=_configuration,
    images=(IMAGE,),
    telling=("tritonserver",),
    failure_pattern=FAILURE,
    grpc_name="OIP gRPC",
)

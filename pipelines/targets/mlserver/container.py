"""MLServer in a container: what its image holds, and how it is asked."""

from pipelines.targets.container import CONFIGURATION, Contained, Inside, asked_inside, oip_status, parsed
from pipelines.targets.endpoint import Configuration
from pipelines.targets.image import OIP_QUESTION, ServerImage
from pipelines.targets.mlserver import settings as mlserver
from pipelines.targets.mlserver.server import FAILURE, NAME, RUNTIME
from pipelines.targets.python.container import WITHOUT
from pipelines.targets.torchserve.container import TRIM_TORCH

REST_PORT, GRPC_PORT = 8080, 8081
NEEDED = ("jinja2", "markupsafe", "packaging")
IMAGE = ServerImage(
    key="mlserver",
    artifact_format="torchscript",
    implementation=NAME,
    question=OIP_QUESTION,
    locks=("torch", "roads/mlserver"),
    without=tuple(name for name in WITHOUT if name not in NEEDED),
    versions_of=("mlserver", "torch", "numpy"),
    imports=("torch", "mlserver", "mlserver.cli", "mlserver.rest", "mlserver.grpc"),
    trim=(TRIM_TORCH,),
    app={RUNTIME.name: RUNTIME},
)


def _configuration(model: str, inside: Inside) -> Configuration:
    """Ask inside for the running model's own report and the files that MLServer was started with."""
    metadata = asked_inside(inside.execute, REST_PORT, f"/v2/models/{model}")
    files = [
        parsed(inside.execute(["cat", f"{CONFIGURATION}/{name}"])[1]) or {}
        for name in ("settings.json", "model-settings.json")
    ]
    parameters = (metadata or {}).get("parameters") or {}
    return mlserver.configuration(parameters, mlserver.MLServerSettings.read(*files))


CONTAINED = Contained(
    service="mlserver",
    rest_port=REST_PORT,
    grpc_port=GRPC_PORT,
    status=oip_status,
    configuration=_configuration,
    images=(IMAGE,),
    telling=("mlserver",),
    failure_pattern=FAILURE,
    grpc_name="OIP gRPC",
)

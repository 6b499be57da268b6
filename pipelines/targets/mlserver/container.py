"""How MLServer in a container is asked."""

from pipelines.targets import oip
from pipelines.targets.container import CONFIGURATION, Contained, Execute, Inside, asked_inside, parsed
from pipelines.targets.endpoint import Configuration
from pipelines.targets.mlserver import settings as mlserver
from pipelines.targets.mlserver.server import FAILURE

REST_PORT, GRPC_PORT = 8080, 8081


def _status(base_url: str, model: str, execute: Execute) -> str | None:  # noqa: ARG001 - not needed
    """Return None if server and model are ready by the protocol, else which of them is not."""
    return oip.status(base_url, model)


def _configuration(model: str, inside: Inside) -> Configuration:
    """Ask inside for the running model's own report and the files that MLServer was started with."""
    told = asked_inside(inside.execute, REST_PORT, f"/v2/models/{model}")
    files = [
        parsed(inside.execute(["cat", f"{CONFIGURATION}/{name}"])[1]) or {}
        for name in ("settings.json", "model-settings.json")
    ]
    parameters = (told or {}).get("parameters") or {}
    return mlserver.configuration(parameters, mlserver.MLServerSettings.read(*files))


CONTAINED = Contained(
    service="mlserver",
    rest_port=REST_PORT,
    grpc_port=GRPC_PORT,
    status=_status,
    configuration=_configuration,
    images=("mlserver",),
    telling=("mlserver",),
    failure_pattern=FAILURE,
    grpc_name="OIP gRPC",
)

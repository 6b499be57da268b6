"""How Triton in a container is asked."""

from pipelines.targets import oip
from pipelines.targets.container import PROBE, Contained, Execute, Inside, asked_inside
from pipelines.targets.endpoint import Configuration
from pipelines.targets.triton import configuration as triton
from pipelines.targets.triton.server import FAILURE

REST_PORT, GRPC_PORT, METRICS_PORT = 8000, 8001, 8002


def _status(base_url: str, model: str, execute: Execute) -> str | None:  # noqa: ARG001 - not needed
    """Return None if server and model are ready by the protocol, else which of them is not."""
    return oip.status(base_url, model)


def _configuration(model: str, inside: Inside) -> Configuration:
    """Ask inside for the server's report of the model, and for our runtime's figures in its metrics."""
    told = asked_inside(inside.execute, REST_PORT, f"/v2/models/{model}/config")
    _, metrics = inside.execute([PROBE, "get", str(METRICS_PORT), "/metrics"])
    return triton.configuration(told, metrics)


CONTAINED = Contained(
    service="triton",
    rest_port=REST_PORT,
    grpc_port=GRPC_PORT,
    status=_status,
    configuration=_configuration,
    images=("triton",),
    telling=("tritonserver",),
    failure_pattern=FAILURE,
    grpc_name="OIP gRPC",
)

"""How the plain server in a container is asked."""

from pipelines.http import fetch_json
from pipelines.targets.container import Contained, Execute, Inside, asked_inside
from pipelines.targets.endpoint import Configuration
from pipelines.targets.python.configuration import from_info, unready
from pipelines.targets.python.server import WORKER_FAILURE

PORT = 8000


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
    images=("python",),
    telling=("fastapi",),
    failure_pattern=WORKER_FAILURE,
)

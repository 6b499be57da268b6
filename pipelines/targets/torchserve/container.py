"""How TorchServe in a container is asked: its management API is not published."""

from pipelines.http import fetch
from pipelines.targets.container import PROBE, Contained, Execute, Inside, asked_inside, parsed
from pipelines.targets.endpoint import Configuration
from pipelines.targets.torchserve.configuration import description_path, from_description, unready
from pipelines.targets.torchserve.server import WORKER_FAILURE

MANAGEMENT_PORT = 8081


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
    images=("torchserve",),
    telling=("torchserve", "torch"),
    failure_pattern=WORKER_FAILURE,
)

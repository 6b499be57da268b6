"""What a runner must know of each target's container: its ports, its paths, and who says it is ready."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.errors import MachineError
from pipelines.http import fetch, fetch_json
from pipelines.runners.compose import CONFIGURATION
from pipelines.targets import oip
from pipelines.targets.endpoint import Configuration
from pipelines.targets.mlserver import settings as mlserver
from pipelines.targets.mlserver.server import FAILURE as RUNTIME_FAILURE
from pipelines.targets.python import configuration as python
from pipelines.targets.python.server import WORKER_FAILURE as WORKER_NOT_LOADED
from pipelines.targets.tfserving.configuration import from_flags
from pipelines.targets.torchserve.configuration import description_path, from_description, unready
from pipelines.targets.torchserve.server import WORKER_FAILURE
from pipelines.targets.triton import configuration as triton
from pipelines.targets.triton.server import FAILURE as MODEL_NOT_LOADED

HTTP_OK = 200
# Runs a command inside the container: exit code and output.
Execute = Callable[[list[str]], tuple[int, str]]
# Every image has it: a static program, so that asking costs the container next to nothing.
PROBE = "tandem-probe"
MANAGEMENT_PORT = "8081"
PYTHON_PORT = 8000


@dataclass(frozen=True)
class Inside:
    """What runs in a container, as far as its configuration goes.

    Attributes:
        execute: runs a command inside.
        commands: the command line of each of its processes.
        cores_count: the cores of its cpuset; None where it has none.
    """

    execute: Execute
    commands: Sequence[Sequence[str]]
    cores_count: int | None


@dataclass(frozen=True)
class Contained:
    """One target as its container offers it.

    Attributes:
        service: in docker/compose.yaml; the variable SERVICE_IMAGE names its image.
        rest_port, grpc_port: inside the container; no gRPC port where it speaks REST alone.
        status: given the REST base URL, the model's name and a way to run commands inside: None once the
            server itself says it is ready, else what it says; raises OSError while nothing listens.
        configuration: given the model's name and what runs inside, how the server is configured; raises
            OSError where nothing answers.
        failure_pattern: a log line that means it will never be ready; the first group says why.
        grpc_name: of its gRPC address, among the endpoint's.
    """

    service: str
    rest_port: int
    grpc_port: int | None
    status: Callable[[str, str, Execute], str | None]
    configuration: Callable[[str, Inside], Configuration]
    failure_pattern: str | None = None
    grpc_name: str = "gRPC"

    @property
    def image_variable(self) -> str:
        """The compose variable, and the environment variable, that names the image."""
        return f"{self.service.upper()}_IMAGE"

    @property
    def port_variables(self) -> tuple[str, ...]:
        """The compose variables of the published ports, REST first."""
        grpc = () if self.grpc_port is None else (f"{self.service.upper()}_GRPC_PORT",)
        return f"{self.service.upper()}_PORT", *grpc

    @property
    def ports(self) -> tuple[int, ...]:
        """Its own ports, REST first."""
        return (self.rest_port,) if self.grpc_port is None else (self.rest_port, self.grpc_port)


def _torchserve_status(base_url: str, model: str, execute: Execute) -> str | None:
    """None when every worker is READY by the management API, which is not published and asked inside.

    Whether the frontend listens at all is asked from outside, which costs the container less.
    """
    fetch(f"{base_url}/ping")
    code, output = execute([PROBE, "get", MANAGEMENT_PORT, f"/models/{model}"])
    answer = _parsed(output) if code == 0 else None
    if not isinstance(answer, list) or not answer:
        return f"the management API answers {output.strip()[-100:]!r}"
    return unready(answer)


def _tfserving_status(base_url: str, model: str, execute: Execute) -> str | None:  # noqa: ARG001 - not needed
    """None when a version is AVAILABLE.

    Raises:
        MachineError: it has given up every version: waiting longer would change nothing.
    """
    status, answer = fetch_json(f"{base_url}/v1/models/{model}")
    if status != HTTP_OK or not isinstance(answer, dict):
        return f"the model status API answers {status}"
    versions = answer.get("model_version_status", [])
    states = [version.get("state", "?") for version in versions]
    if states and set(states) == {"END"}:
        said = versions[0].get("status", {}).get("error_message") or "it gave the version up"
        raise MachineError(f"tfserving cannot serve the model: {said}")
    return None if "AVAILABLE" in states else f"versions: {', '.join(states) or 'none'}"


def _torchserve_configuration(model: str, inside: Inside) -> Configuration:
    """What the management API tells, asked inside."""
    code, output = inside.execute([PROBE, "get", MANAGEMENT_PORT, description_path(model)])
    return from_description(_parsed(output) if code == 0 else None)


def _tfserving_configuration(model: str, inside: Inside) -> Configuration:  # noqa: ARG001 - not needed
    """What the process that serves was started with."""
    for argv in inside.commands:
        if any(word.startswith("--model_base_path") for word in argv):
            embedded = any(word.endswith(".embedded") for word in argv)
            return from_flags(argv, inside.cores_count, embedded=embedded)
    return {}


def _python_status(base_url: str, model: str, execute: Execute) -> str | None:  # noqa: ARG001 - not needed
    """None when every worker has loaded the model."""
    return python.unready(*fetch_json(f"{base_url}/ready"))


def _python_configuration(model: str, inside: Inside) -> Configuration:  # noqa: ARG001 - not needed
    """What it tells, asked inside."""
    code, output = inside.execute([PROBE, "get", str(PYTHON_PORT), "/info"])
    return python.from_info(_parsed(output) if code == 0 else None)


def _oip_status(base_url: str, model: str, execute: Execute) -> str | None:  # noqa: ARG001 - not needed
    """None when server and model are ready by the protocol."""
    return oip.status(base_url, model)


def _triton_configuration(model: str, inside: Inside) -> Configuration:
    """What it says of the model, and our runtime among its metrics, asked inside."""
    asked = inside.execute([PROBE, "get", "8000", f"/v2/models/{model}/config"])
    metrics = inside.execute([PROBE, "get", "8002", "/metrics"])
    return triton.configuration(_parsed(asked[1]) if asked[0] == 0 else None, metrics[1])


def _mlserver_configuration(model: str, inside: Inside) -> Configuration:
    """What the running model says, and the files that MLServer was started with, both inside."""
    code, output = inside.execute([PROBE, "get", "8080", f"/v2/models/{model}"])
    told = _parsed(output) if code == 0 else None
    files = [
        _parsed(inside.execute(["cat", f"{CONFIGURATION}/{name}"])[1]) or {}
        for name in ("settings.json", "model-settings.json")
    ]
    parameters = (told or {}).get("parameters") or {}
    return mlserver.configuration(parameters, mlserver.MLServerSettings.read(*files))


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


CONTAINED = {
    found.service: found
    for found in (
        Contained(
            service="torchserve",
            rest_port=8080,
            grpc_port=7070,
            status=_torchserve_status,
            configuration=_torchserve_configuration,
            failure_pattern=WORKER_FAILURE,
        ),
        Contained(
            service="tfserving",
            rest_port=8501,
            grpc_port=8500,
            status=_tfserving_status,
            configuration=_tfserving_configuration,
        ),
        Contained(
            service="python",
            rest_port=PYTHON_PORT,
            grpc_port=None,
            status=_python_status,
            configuration=_python_configuration,
            failure_pattern=WORKER_NOT_LOADED,
        ),
        Contained(
            service="triton",
            rest_port=8000,
            grpc_port=8001,
            status=_oip_status,
            configuration=_triton_configuration,
            failure_pattern=MODEL_NOT_LOADED,
            grpc_name="OIP gRPC",
        ),
        Contained(
            service="mlserver",
            rest_port=8080,
            grpc_port=8081,
            status=_oip_status,
            configuration=_mlserver_configuration,
            failure_pattern=RUNTIME_FAILURE,
            grpc_name="OIP gRPC",
        ),
    )
}

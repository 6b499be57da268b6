"""What a target's container.py says: its ports, its images, who says it is ready, how it is configured."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.targets import oip
from pipelines.targets.endpoint import Configuration
from pipelines.targets.image import ServerImage

# Where the entry points of all server images look.
CONFIGURATION = "/etc/tandem/server"
# Runs a command inside the container: exit code and output.
Execute = Callable[[list[str]], tuple[int, str]]
# Every image has it: a static program, so that asking costs the container next to nothing.
PROBE = "tandem-probe"


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
        images: its images (`tandem images`), the product it is named after first.
        telling: versions that an image's label holds, in the order in which they tell what answers.
        failure_pattern: a log line that means it will never be ready; the first group says why.
        grpc_name: of its gRPC address, among the endpoint's.
        fallback: a word in the label of an image that only stands in for the product, and what to say of it.
    """

    service: str
    rest_port: int
    grpc_port: int | None
    status: Callable[[str, str, Execute], str | None]
    configuration: Callable[[str, Inside], Configuration]
    images: tuple[ServerImage, ...]
    telling: tuple[str, ...]
    failure_pattern: str | None = None
    grpc_name: str = "gRPC"
    fallback: tuple[str, str] | None = None

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


def asked_inside(execute: Execute, port: int, path: str) -> Any:
    """Send a GET inside the container and return its answer as JSON; None if it fails or is no JSON."""
    code, output = execute([PROBE, "get", str(port), path])
    return parsed(output) if code == 0 else None


def parsed(text: str) -> Any:
    """Parse a JSON text; None if it is not JSON."""
    try:
        return json.loads(text)
    except ValueError:
        return None


def oip_status(base_url: str, model: str, execute: Execute) -> str | None:  # noqa: ARG001 - asked from outside
    """Return None if server and model are ready by the Open Inference Protocol, else which of them is not."""
    return oip.status(base_url, model)

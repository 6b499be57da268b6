"""The runner whose servers are containers, each a compose project of its own."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.errors import MachineError, RequestError
from pipelines.files.leftovers import note_engine
from pipelines.record.implementation import ImageRecord, ImplementationRecord
from pipelines.runners import compose, docker_facts
from pipelines.runners import docker_ownership as ownership
from pipelines.runners.docker_server import DockerServer
from pipelines.targets.contained import CONTAINED
from pipelines.targets.container import Contained
from pipelines.targets.endpoint import Endpoint
from pipelines.targets.launch import Launch
from pipelines.targets.server_plan import ServeRequest, ServerPlan, choose_ports

if TYPE_CHECKING:
    from docker.models.containers import Container

    from docker import DockerClient

# Compose cannot turn off a health check whose interval it sets; none comes before a run has ended.
NEVER = "24h"
# An engine that is being restarted is back within this, all of its containers together.
BACK_LIMIT_S, LOOK_S = 20.0, 0.5
# Base URL until the container runs and has an address.
NOWHERE = "127.0.0.1:9"


@dataclass(frozen=True)
class ContainerImage:
    """An image that one target's container is made from, as its labels and the engine describe it."""

    target: str
    implementation: str
    version: str
    stand_in: bool
    record: ImageRecord
    note: str | None = None


@dataclass
class DockerRunner:
    """Servers as containers, each a compose project of its own.

    Attributes:
        images: by target.
        command: what the projects are for; part of their names.
        direct: talk to a container on its own network where that is possible, past docker-proxy.
        health_checks: whether the engine runs the images' health checks meanwhile.
        variables: for the compose file, beside those that come from a request.
        reason: why containers, where they were not simply asked for; recorded with each implementation.
    """

    client: "DockerClient"
    images: Mapping[str, ContainerImage]
    command: str
    direct: bool = True
    health_checks: bool = False
    variables: Mapping[str, str] = field(default_factory=dict)
    overlays: Sequence[Path] = ()
    reason: str | None = None
    name: str = "docker"
    # When an engine that is gone is no longer waited for.
    _back_by_s: float | None = None

    @contextmanager
    def prepare(self, target: str, request: ServeRequest) -> Iterator[DockerServer]:
        """Create a container with its limits, not started; leaving the context removes it and its network.

        Raises:
            RequestError: an address that containers are not published on.
            MachineError: compose or the engine refused.
        """
        _require_possible(request)
        note_engine()
        contained = CONTAINED[target]
        project = ownership.new_project(self.command)
        variables = self._variables(contained, request)
        files = request.preset.settings_of(target).files(request.spec)
        configuration = compose.write_configuration(request.work / "server", files)
        mounted = {contained.service: configuration}
        stack = compose.Stack(project, (contained.service,), variables, self.overlays, mounted)
        try:
            compose.create(stack, request.work)
            container = _find(self.client, project, contained.service)
            plan = self._plan(target, contained, request, container)
            yield DockerServer(container, plan, contained, direct=self.direct)
        except BaseException:
            # What ended it says more than that it cannot be removed either.
            with suppress(MachineError):
                self._remove(project)
            raise
        self._remove(project)

    def _remove(self, project: str) -> None:
        """Remove what a project has; of an engine that is gone once it is back, if that is soon.

        The next command that finds it removes the rest.

        Raises:
            MachineError: the engine is there and refuses.
        """
        from requests.exceptions import RequestException

        while True:
            try:
                ownership.remove_project(self.client, project)
            except RequestException:
                self._back_by_s = self._back_by_s or time.monotonic() + BACK_LIMIT_S
                if time.monotonic() > self._back_by_s:
                    return
                time.sleep(LOOK_S)
            else:
                return

    def _variables(self, contained: Contained, request: ServeRequest) -> dict[str, str]:
        rest_port = contained.port_variables[0]
        variables = {
            # Compose wants every image named, also those of services that it is not asked for.
            **{other.image_variable: "not-asked-for" for other in CONTAINED.values()},
            **{CONTAINED[name].image_variable: image.record.reference for name, image in self.images.items()},
            **({} if self.health_checks else {"TANDEM_HEALTH_INTERVAL": NEVER}),
            **compose.grants(request.cores),
            # A side and its control would want the one port that the user's environment names.
            **{port: "0" for other in CONTAINED.values() for port in other.port_variables},
        }
        if request.rest_port:
            choose_ports(request, 1)  # refuses a port that is taken before anything is made
            variables[rest_port] = str(request.rest_port)
        return {**variables, **self.variables}

    def _plan(
        self, target: str, contained: Contained, request: ServeRequest, container: "Container"
    ) -> ServerPlan:
        image, settings = self.images[target], request.preset.settings_of(target)
        protocol = request.asked_by(target)
        return ServerPlan(
            target=target,
            implementation=ImplementationRecord(
                name=image.implementation,
                version=image.version,
                runner=self.name,
                preset=request.preset.name,
                settings={**request.preset.settings.given(), **request.preset.settings.implied()},
                protocol=protocol.name,
                body=protocol.codec,
                stand_in=image.stand_in,
                note="; ".join(filter(None, (image.note, self.reason))) or None,
                image=image.record,
            ),
            given=docker_facts.given(container.attrs).model_copy(
                update={"max_request_bytes": settings.max_request_bytes(request.spec)}
            ),
            launch=Launch(
                cwd=request.work,
                log=request.work / "server.log",
                cores=request.cores,
                failure_pattern=contained.failure_pattern,
            ),
            endpoint=Endpoint(
                base_url=protocol.base_url(f"http://{NOWHERE}", NOWHERE),
                predict_path=protocol.path_of(request.spec.name),
                model=request.spec.name,
                status=lambda: "the container is not started",
            ),
        )


def _require_possible(request: ServeRequest) -> None:
    if request.host not in {"127.0.0.1", "localhost"}:
        raise RequestError(
            f"--host {request.host}: containers are published on loopback only, which docker/compose.yaml "
            "decides; leave --host out, or use --runner local"
        )


def _find(client: "DockerClient", project: str, service: str) -> "Container":
    labels = [f"{ownership.COMPOSE_LABEL}={project}", f"com.docker.compose.service={service}"]
    filters: ownership.Filters = {"label": labels}
    containers = client.containers.list(all=True, filters=filters)
    if len(containers) != 1:
        raise MachineError(f"compose made {len(containers)} containers of {service}, expected 1")
    containers[0].reload()
    return containers[0]

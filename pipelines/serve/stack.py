"""Compose stacks that stand by themselves: `tandem up`, `tandem down`, `tandem logs`."""

import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.spec import load_model
from pipelines.errors import GateError, MachineError, RequestError
from pipelines.processes.group import port_holder
from pipelines.runners import compose
from pipelines.runners import docker_ownership as ownership
from pipelines.serve import readiness
from pipelines.targets.containers import CONTAINED
from pipelines.targets.presets import Preset
from pipelines.targets.registry import COMPARED, find_target
from pipelines.tasks.tasks import Progress
from pipelines.verify.stage import ensure_verified

if TYPE_CHECKING:
    from docker import DockerClient
    from pipelines.runners.docker_containers import ContainerImage

COMMAND = "up"
PREFIX = f"tandem-{COMMAND}-"
RIGHT_LIMIT_S = 180.0
LOOK_S = 0.5
STOP_LIMIT_S = 20


class StandingStack(compose.Stack):
    """A stack that outlives the command that started it: nobody may take it for abandoned."""

    def labels(self) -> dict[str, str]:
        """Return the labels of any stack, but with no owner."""
        return super().labels() | {ownership.OWNER_LABEL: ownership.STANDING}


@dataclass(frozen=True)
class UpRequest:
    """The request of a stack, configured by `presets`; `load_target` adds Locust driving that target."""

    model: str
    artifacts: Path
    presets: Mapping[str, Preset] = field(default_factory=dict)
    load_target: str | None = None
    prometheus: bool = False


@dataclass(frozen=True)
class Standing:
    """A stack that stands: the project's name, and where each service answers on this machine."""

    project: str
    addresses: Mapping[str, str]


def up(request: UpRequest, progress: Progress) -> Standing:
    """Start both servers, and what was asked for beside them; returns once both answer a sample right.

    Raises:
        RequestError: unknown target.
        GateError: a server answers wrong.
        MachineError: no engine, no image, or a container that ended.
    """
    _require(request)
    from pipelines.package import connect
    from pipelines.runners.docker_images import find_images

    with closing(connect()) as client:
        images = find_images(client, COMPARED, request.model, request.artifacts, progress)
        return _start(client, _stack(request, images, progress), progress)


def _stack(request: UpRequest, images: "Mapping[str, ContainerImage]", progress: Progress) -> compose.Stack:
    from pipelines.package import ensure_images

    variables = {CONTAINED[name].image_variable: image.record.reference for name, image in images.items()}
    services, overlays = list(COMPARED), []
    if request.prometheus:
        services.append("prometheus")
        overlays.append(compose.DOCKER / "compose.prometheus.yaml")
    if request.load_target:
        locust_image = ensure_images(request.model, request.artifacts, ["locust"], progress)["locust"]
        services += ["locust-master", "locust-worker"]
        overlays.append(compose.DOCKER / "compose.locust.yaml")
        variables |= _load_variables(request, locust_image.reference, progress)
    _require_ports()
    project, configurations = ownership.new_project(COMMAND), _configurations(request)
    return StandingStack(project, tuple(services), variables, tuple(overlays), configurations)


def _configurations(request: UpRequest) -> dict[str, Path]:
    """Write the servers' configurations beside the artifacts, where they stay as long as the containers."""
    spec = load_model(request.model)
    folder = request.artifacts / spec.name / "configurations"
    return {
        CONTAINED[target].service: compose.write_configuration(
            folder / f"{target}-{Path(preset.name).stem}", preset.fitted(spec).settings_of(target).files(spec)
        )
        for target, preset in request.presets.items()
    }


def _require(request: UpRequest) -> None:
    if request.load_target not in (None, *COMPARED):
        raise RequestError(f"unknown target {request.load_target!r}; allowed: {', '.join(COMPARED)}")


def _load_variables(request: UpRequest, image: str, progress: Progress) -> dict[str, str]:
    """Write the requests that Locust sends beside the artifacts; return Locust's variables."""
    spec = load_model(request.model)
    contained = CONTAINED[str(request.load_target)]
    verified = ensure_verified(request.model, request.artifacts, progress)
    path = find_target(contained.service).protocols[0].path_of(spec.name)
    pool = readiness.payload_pool(spec, verified.expected, path)
    file = (request.artifacts / spec.name / f"payloads-{contained.service}.zip").resolve()
    pool.save(file)
    file.chmod(0o644)
    return {
        "LOCUST_IMAGE": image,
        "TANDEM_PAYLOADS": str(file),
        "TANDEM_LOAD_URL": f"http://{contained.service}:{contained.rest_port}",
    }


def _require_ports() -> None:
    """Raise MachineError if a port that the environment asks for is taken, and name the process using it."""
    for name in (port for target in COMPARED for port in CONTAINED[target].port_variables):
        port = int(os.environ.get(name) or 0)
        holder = port_holder(port) if port else None
        if holder:
            raise MachineError(f"{name}={port} is taken ({holder}); choose another, or 0 for a free one")


def _start(client: "DockerClient", stack: compose.Stack, progress: Progress) -> Standing:
    progress(COMMAND, f"starting {stack.project}")
    try:
        with tempfile.TemporaryDirectory(prefix="tandem-up-") as work:
            compose.create(stack, Path(work))
        containers = _containers(client, stack.project)
        # In the order asked for: a Locust worker looks for the name of its master once.
        for service in stack.services:
            containers[service].start()
        for target in COMPARED:
            progress(target, "waiting for a right answer")
            _wait_right(containers[target], target)
    except BaseException:
        ownership.remove_project(client, stack.project)
        raise
    return Standing(stack.project, _addresses(containers))


def _containers(client: "DockerClient", project: str) -> dict[str, Any]:
    filters: dict[str, str | list[str] | bool] = {"label": f"{ownership.COMPOSE_LABEL}={project}"}
    containers = client.containers.list(all=True, filters=filters)
    return {container.labels["com.docker.compose.service"]: container for container in containers}


def _wait_right(container: Any, target: str) -> None:
    check = ["tandem-probe", "check", str(CONTAINED[target].rest_port), "/etc/tandem/health"]
    deadline = time.monotonic() + RIGHT_LIMIT_S
    while True:
        container.reload()
        if container.status != "running":
            last = container.logs(tail=3).decode(errors="replace")
            raise MachineError(f"the container of {target} ended at start: {' | '.join(last.splitlines())}")
        code, output = container.exec_run(check)
        if code == 0:
            return
        if time.monotonic() > deadline:
            message = output.decode(errors="replace").strip()
            raise GateError(f"{target} gave no right answer within {RIGHT_LIMIT_S:.0f} s: {message}")
        time.sleep(LOOK_S)


def _addresses(containers: Mapping[str, Any]) -> dict[str, str]:
    """Map every published port, "service container-port", to its "host:port"."""
    addresses = {}
    for service, container in sorted(containers.items()):
        container.reload()
        for port, bindings in sorted((container.ports or {}).items()):
            for binding in bindings or []:
                addresses[f"{service} {port.split('/')[0]}"] = f"{binding['HostIp']}:{binding['HostPort']}"
    return addresses


def standing(client: "DockerClient") -> list[str]:
    """List the projects of stacks that `up` started on this engine."""
    return [project.project for project in ownership.projects(client) if project.project.startswith(PREFIX)]


def down(project: str | None, progress: Progress) -> list[str]:
    """Stop and remove one stack, or all that `up` started; also what a crash left of one. Their names.

    Raises:
        RequestError: there is no stack of that name.
        MachineError: no engine answers.
    """
    from docker.errors import APIError
    from requests.exceptions import RequestException

    from pipelines.package import connect

    with closing(connect()) as client:
        chosen = _chosen(standing(client), project)
        for name in chosen:
            progress(name, "stopping")
            for container in _containers(client, name).values():
                # What does not stop is removed by force below.
                with suppress(APIError, RequestException):
                    container.stop(timeout=STOP_LIMIT_S)
            ownership.remove_project(client, name)
    return chosen


def _chosen(there: Sequence[str], project: str | None) -> list[str]:
    if project is None:
        return list(there)
    if project not in there:
        raise RequestError(f"no stack is called {project!r}; standing: {', '.join(there) or 'none'}")
    return [project]


def logs(project: str | None, lines: int) -> dict[str, str]:
    """Return the last `lines` lines of every container of one stack, or of all, by "project service".

    Raises:
        As `down`.
    """
    from pipelines.package import connect

    with closing(connect()) as client:
        return {
            f"{name} {service}": container.logs(tail=lines).decode(errors="replace")
            for name in _chosen(standing(client), project)
            for service, container in sorted(_containers(client, name).items())
        }

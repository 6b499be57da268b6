"""Compose stacks that stand by themselves: `tandem up`, `tandem down`, `tandem logs`."""

import os
import re
import tempfile
import time
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.spec import load_model
from pipelines.errors import GateError, MachineError, RequestError, unknown
from pipelines.machine.cores import expand, split_cores
from pipelines.package.engine import engine_errors
from pipelines.processes.group import port_holder
from pipelines.runners import compose
from pipelines.runners import docker_ownership as ownership
from pipelines.runners.docker_trouble import why
from pipelines.serve import readiness
from pipelines.targets.contained import CONTAINED
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
HIGHEST_PORT, PORT_DIGITS = 65_535, 5
SERVER_CORES, GENERATOR_CORES = "TANDEM_CPUSET", "TANDEM_GENERATOR_CPUSET"
SCRAPED = re.compile(r"- job_name: (\S+)")
STOP_LIMIT_S = 20


class StandingStack(compose.Stack):
    """A stack that outlives the command that started it: nobody may take it for abandoned."""

    def labels(self) -> dict[str, str]:
        """Return the labels of any stack, but with a user for an owner, and no process."""
        return super().labels() | {ownership.OWNER_LABEL: ownership.standing_owner()}


@dataclass(frozen=True)
class UpRequest:
    """The request of a stack, configured by `presets`; `load_target` adds Locust driving that target."""

    model: str
    artifacts: Path
    targets: tuple[str, ...] = COMPARED
    presets: Mapping[str, Preset] = field(default_factory=dict)
    load_target: str | None = None
    prometheus: bool = False


@dataclass(frozen=True)
class Standing:
    """A stack that stands: the project's name, and where each service answers on this machine."""

    project: str
    addresses: Mapping[str, str]


def up(request: UpRequest, progress: Progress) -> Standing:
    """Start the servers, and what was asked for beside them; returns once each answers a sample right.

    Raises:
        RequestError: unknown target, one that is not in the stack or not scraped, or a variable that names
            no port or no cores.
        GateError: a server answers wrong.
        MachineError: no engine, no image, a port that is taken, or a container that ended.
    """
    _require(request)
    _require_ports(request)
    from pipelines.package import connect
    from pipelines.runners.docker_images import find_images

    with closing(connect()) as client:
        images = find_images(client, request.targets, request.model, request.artifacts, progress)
        return _start(client, _stack(request, images, progress), progress)


def _stack(request: UpRequest, images: "Mapping[str, ContainerImage]", progress: Progress) -> compose.Stack:
    from pipelines.package import ensure_images

    variables = {CONTAINED[name].image_variable: image.record.reference for name, image in images.items()}
    variables |= compose.grants(()) | _cores()
    services, overlays = [CONTAINED[name].service for name in images], []
    if request.prometheus:
        services.append("prometheus")
        overlays.append(compose.DOCKER / "compose.prometheus.yaml")
    if request.load_target:
        locust_image = ensure_images(request.model, request.artifacts, ["locust"], progress)["locust"]
        services += ["locust-master", "locust-worker"]
        overlays.append(compose.DOCKER / "compose.locust.yaml")
        variables |= _load_variables(request, locust_image.reference, progress)
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
    for target in request.targets:
        if target not in CONTAINED:
            raise unknown("target", target, tuple(CONTAINED))
    if request.load_target not in (None, *request.targets):
        raise unknown("target", str(request.load_target), request.targets)
    scraped = SCRAPED.findall((compose.DOCKER / "prometheus" / "prometheus.yml").read_text())
    if request.prometheus and not {CONTAINED[name].service for name in request.targets} & set(scraped):
        raise RequestError(
            f"Prometheus scrapes none of {', '.join(request.targets)}; start one of those that it does, such "
            f"as {scraped[0]}, or leave out Prometheus"
        )


def _load_variables(request: UpRequest, image: str, progress: Progress) -> dict[str, str]:
    """Write the requests that Locust sends beside the artifacts; return Locust's variables."""
    spec = load_model(request.model)
    contained = CONTAINED[str(request.load_target)]
    verified = ensure_verified(request.model, request.artifacts, progress)
    protocol = find_target(str(request.load_target)).protocols[0]
    path = protocol.path_of(spec.name)
    pool = readiness.payload_pool(spec, verified.expected, path, protocol=protocol)
    file = (request.artifacts / spec.name / f"payloads-{contained.service}.zip").resolve()
    pool.save(file)
    file.chmod(0o644)
    return {
        "LOCUST_IMAGE": image,
        "TANDEM_PAYLOADS": str(file),
        "TANDEM_LOAD_URL": f"http://{contained.service}:{contained.rest_port}",
    }


def _cores() -> dict[str, str]:
    """Choose the servers' core, and one for what is no server: of another physical core, if there is one.

    What the user's environment says of either stays, and the other keeps away from it.

    Raises:
        RequestError: a variable is no list of cores.
    """
    server, generator = (_named_cores(name) for name in (SERVER_CORES, GENERATOR_CORES))
    usable = os.sched_getaffinity(0) - set(generator[1:])  # its first core is set aside by the split itself
    split = split_cores(usable or None, server=server, generator=generator[0] if generator else None)
    chosen = {SERVER_CORES: split.server[0], GENERATOR_CORES: split.generator[0]}
    return {name: str(core) for name, core in chosen.items() if not os.environ.get(name)}


def _named_cores(variable: str) -> tuple[int, ...]:
    text = os.environ.get(variable)
    try:
        return expand(text) if text else ()
    except ValueError as error:
        raise RequestError(f"{variable} is {text!r}: {error}; allowed: cores such as 0 or 0,2-3") from error


def _require_ports(request: UpRequest) -> None:
    """Check the ports that the environment asks for.

    Raises:
        RequestError: one is no port.
        MachineError: one is taken; names the process that uses it.
    """
    names = [port for target in request.targets for port in CONTAINED[target].port_variables]
    names += ["LOCUST_PORT"] if request.load_target else []
    names += ["PROMETHEUS_PORT"] if request.prometheus else []
    for name in names:
        port = _port(name)
        holder = port_holder(port) if port else None
        if holder:
            raise MachineError(f"{name}={port} is taken ({holder}); choose another, or 0 for a free one")


def _port(name: str) -> int:
    text = os.environ.get(name) or "0"
    if not (text.isascii() and text.isdecimal() and len(text) <= PORT_DIGITS and int(text) <= HIGHEST_PORT):
        raise RequestError(f"{name} is {text[:80]!r}; allowed: 0 to {HIGHEST_PORT}, 0 for a free port")
    return int(text)


def _start(client: "DockerClient", stack: compose.Stack, progress: Progress) -> Standing:
    progress(COMMAND, f"starting {stack.project}")
    try:
        with tempfile.TemporaryDirectory(prefix="tandem-up-") as work:
            compose.create(stack, Path(work))
        containers = _containers(client, stack.project)
        # In the order asked for: a Locust worker looks for the name of its master once.
        for service in stack.services:
            containers[service].start()
        for target in _targets_of(stack):
            progress(target, "waiting for a right answer")
            _wait_right(containers[CONTAINED[target].service], target)
    except BaseException as error:
        # What went wrong says more than that it cannot be removed either; `tandem down` tries that again.
        with suppress(MachineError, *engine_errors()):
            ownership.remove_project(client, stack.project)
        if isinstance(error, engine_errors()):
            message = " ".join(why(error).split())
            raise MachineError(f"the engine cannot start {stack.project}: {message}") from error
        raise
    return Standing(stack.project, _addresses(containers))


def _targets_of(stack: compose.Stack) -> list[str]:
    return [name for name, contained in CONTAINED.items() if contained.service in stack.services]


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


def standing(client: "DockerClient") -> dict[str, bool]:
    """Return the projects that `up` started on this engine, and whether this user of this machine did."""
    ours = ownership.standing_owner()
    return {
        project.project: project.owner == ours
        for project in ownership.projects(client)
        if project.project.startswith(PREFIX)
    }


def down(project: str | None, progress: Progress) -> list[str]:
    """Stop and remove one stack, or all of this user's; also what a crash left of one. Their names.

    Raises:
        RequestError: there is no stack of that name.
        MachineError: no engine answers, or it does not remove one.
    """
    from pipelines.package import connect

    with closing(connect()) as client:
        there = standing(client)
        chosen = _chosen(there, project)
        for name in sorted(there.keys() - chosen) if project is None else ():
            progress(name, "left: it is not of this user on this machine; `tandem down` takes its name too")
        for name in chosen:
            progress(name, "stopping")
            for container in _containers(client, name).values():
                # What does not stop is removed by force below.
                with suppress(*engine_errors()):
                    container.stop(timeout=STOP_LIMIT_S)
            ownership.remove_project(client, name)
    return chosen


def _chosen(there: Mapping[str, bool], project: str | None) -> list[str]:
    if project is None:
        return [name for name, is_ours in there.items() if is_ours]
    if project not in there:
        raise RequestError(f"no stack is called {project!r}; standing: {', '.join(there) or 'none'}")
    return [project]


def logs(project: str | None, lines: int) -> dict[str, str]:
    """Return the last `lines` lines of every container of one stack, or of all ours, by "project service".

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

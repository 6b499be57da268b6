"""What a target says about the server it wants started; a runner starts it."""

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from pkgutil import resolve_name

from models.spec import ModelSpec
from pipelines.artifacts.manifest import Manifest
from pipelines.environments.creation import ensure
from pipelines.environments.known import find
from pipelines.errors import MachineError, RequestError
from pipelines.hosts import require_host, url_host
from pipelines.processes.group import free_ports, port_holder
from pipelines.record.implementation import GivenRecord, ImplementationRecord
from pipelines.targets.endpoint import Endpoint
from pipelines.targets.launch import Launch
from pipelines.targets.presets import Preset
from pipelines.targets.protocols import Protocol
from pipelines.targets.registry import SERVED, find_target


@dataclass(frozen=True)
class ServeRequest:
    """A request for a server.

    Attributes:
        folder: the target's artifacts.
        proven: what was verified of them; the runner then serves a private copy of exactly that. None serves
            `folder` as it is.
        work: an empty folder of the server's own, for configuration, logs and temporary files. Its path must
            be short: Unix sockets inside it may have at most 107 characters.
        preset: how the server is configured.
        protocol: how it will be asked; None for the target's usual one.
        cores: the only CPU cores the server may run on; empty for all.
        rest_port: 0 to pick a free one.
        host: the address to listen on; loopback unless another was asked for.
    """

    spec: ModelSpec
    folder: Path
    work: Path
    preset: Preset = field(default_factory=Preset)
    protocol: Protocol | None = field(default=None, kw_only=True)
    cores: tuple[int, ...] = ()
    rest_port: int = 0
    host: str = "127.0.0.1"

    def __post_init__(self) -> None:
        object.__setattr__(self, "host", require_host(self.host))
        object.__setattr__(self, "preset", self.preset.fitted(self.spec))

    def url(self, port: int, scheme: str = "http") -> str:
        """Return the URL of what listens on `port` of the host."""
        return f"{scheme}://{url_host(self.host)}:{port}"

    proven: Manifest | None = None

    def asked_by(self, target: str) -> Protocol:
        """Return how a server of `target` will be asked."""
        return self.protocol or find_target(target).protocols[0]

    def answered_by(
        self,
        target: str,
        name: str,
        version: str,
        note: str,
        *,
        stand_in: bool = False,
        settings: Mapping[str, bool] | None = None,
    ) -> ImplementationRecord:
        """Describe a local process of `target`; `settings` are those beyond the preset's."""
        protocol = self.asked_by(target)
        return ImplementationRecord(
            name=name,
            version=version,
            runner="local",
            preset=self.preset.name,
            settings={**self.preset.settings.given(), **(settings or {})},
            protocol=protocol.name,
            body=protocol.codec,
            stand_in=stand_in,
            note=note,
        )

    def budget(self, max_request_bytes: int | None = None) -> GivenRecord:
        """Return what the server is given; the running server reports how it uses that."""
        return GivenRecord(
            cores=self.cores,
            workers_count=None,
            threads_per_worker=None,
            batch_max_size=None,
            memory_limit_bytes=None,
            max_request_bytes=max_request_bytes,
        )

    @property
    def cores_count(self) -> int:
        """How many cores a local server may run on."""
        return len(self.cores or os.sched_getaffinity(0))


@dataclass(frozen=True)
class ServerPlan:
    """One server of a target: how it is started, how it is talked to, who answers and what it was given."""

    target: str
    implementation: ImplementationRecord
    given: GivenRecord
    launch: Launch
    endpoint: Endpoint


def plan_server(target: str, request: ServeRequest) -> ServerPlan:
    """Plan the server that `target` describes.

    Raises:
        RequestError: the target has no server, or a setting is wrong.
        MachineError: something it needs is missing.
    """
    entry = find_target(target)
    if entry.server is None:
        raise RequestError(f"{target} runs in process and has no server; allowed: {', '.join(SERVED)}")
    plan: ServerPlan = resolve_name(entry.server)(request)
    return plan


def make_environments(targets: Iterable[str], progress: Callable[[str, str], None]) -> None:
    """Make those Python environments that the targets' local servers run in and that are not there yet.

    Raises:
        MachineError: one cannot be made.
    """
    for name in dict.fromkeys(targets):
        environment = find_target(name).environment
        if environment is not None:
            ensure(find(environment), partial(progress, name))


def choose_ports(request: ServeRequest, count: int) -> list[int]:
    """Choose `count` ports, the REST port first: the requested one if it is free, otherwise free ones.

    Raises:
        RequestError: the asked port is out of range.
        MachineError: the asked port is taken; says by whom, if this user may know.
    """
    if not 0 <= request.rest_port < 2**16:
        raise RequestError(
            f"port {request.rest_port} is out of range; allowed: 1 to 65535, or 0 for a free one"
        )
    try:
        ports = free_ports(count, request.host)
        holder = port_holder(request.rest_port, request.host) if request.rest_port else None
    except OSError as error:
        raise MachineError(
            f"cannot listen on {request.host} port {request.rest_port}: {error.strerror}; choose another "
            "address with --host, or another port with --port"
        ) from error
    if holder:
        raise MachineError(
            f"port {request.rest_port} is taken ({holder}); choose another with --port, or 0 for a free one"
        )
    if not request.rest_port:
        return ports
    return [request.rest_port, *[port for port in ports if port != request.rest_port][: count - 1]]

"""What a target says about the server it wants started; a runner starts it."""

import importlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.spec import ModelSpec
from pipelines.artifacts.manifest import Manifest
from pipelines.errors import MachineError, RequestError
from pipelines.hosts import require_host, url_host
from pipelines.processes.group import free_ports, port_holder
from pipelines.record.implementation import GivenRecord, ImplementationRecord
from pipelines.targets.registry import SERVED, find_target

PRESETS = ("default", "tuned")
# Fields of GivenRecord that say how a server is configured, `sources` among them.
Configuration = Mapping[str, Any]


@dataclass(frozen=True)
class ServeRequest:
    """A server somebody asked for.

    Attributes:
        folder: the target's artifacts.
        proven: what was verified of them; the runner then serves a private copy of exactly that. None serves
            `folder` as it is.
        work: an empty folder of the server's own, for configuration, logs and temporary files. Its path must
            be short: Unix sockets inside it may have at most 107 characters.
        preset: a name of `PRESETS`.
        cores: the only CPU cores the server may run on; empty for all.
        rest_port: 0 to pick a free one.
        host: the address to listen on; loopback unless somebody asked for another.
    """

    spec: ModelSpec
    folder: Path
    work: Path
    preset: str = "default"
    cores: tuple[int, ...] = ()
    rest_port: int = 0
    host: str = "127.0.0.1"

    def __post_init__(self) -> None:
        object.__setattr__(self, "host", require_host(self.host))

    def url(self, port: int, scheme: str = "http") -> str:
        """Of what listens on `port` of the host."""
        return f"{scheme}://{url_host(self.host)}:{port}"

    proven: Manifest | None = None

    @property
    def cores_count(self) -> int:
        """How many cores a local server may run on."""
        return len(self.cores or os.sched_getaffinity(0))


@dataclass(frozen=True)
class ServerPlan:
    """How to start one server and how to talk to it.

    Attributes:
        argv, env, cwd: the process; `env` is added to ours.
        log: where its stdout and stderr go.
        base_url: of the REST endpoint, without a trailing slash.
        predict_path: path of the prediction endpoint, to POST row-format JSON to.
        status: None once the server itself says it is ready, else what it says; raises OSError while nothing
            listens. Ready means a right answer as well, which the runner checks.
        endpoints: everything that listens, by name, for people.
        configuration: asks the running server how it is configured; None where the plan says all there is to
            know. Raises OSError where it does not answer.
        failure_pattern: a log line that means it will never be ready; the first group says why.
        ready_limit_s: how long a start may take.
    """

    target: str
    implementation: ImplementationRecord
    given: GivenRecord
    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: Path
    log: Path
    base_url: str
    predict_path: str
    status: Callable[[], str | None]
    endpoints: Mapping[str, str]
    configuration: Callable[[], Configuration] | None = None
    failure_pattern: str | None = None
    ready_limit_s: float = 120.0


def plan_server(target: str, request: ServeRequest) -> ServerPlan:
    """What `target` says about the server it wants.

    Raises:
        RequestError: the target has no server, or a setting is wrong.
        MachineError: something it needs is missing.
    """
    found = find_target(target)
    if found.server is None:
        raise RequestError(f"{target} runs in process and has no server; allowed: {', '.join(SERVED)}")
    module, function = found.server.split(":")
    plan: ServerPlan = getattr(importlib.import_module(module), function)(request)
    return plan


def preset_lines(presets: Path, name: str, suffix: str) -> list[str]:
    """The settings of a preset file, without comments and empty lines.

    Raises:
        RequestError: there is no preset of that name.
    """
    path = presets / f"{name}{suffix}"
    if not path.is_file():
        allowed = ", ".join(sorted(p.stem for p in presets.glob(f"*{suffix}")))
        raise RequestError(f"unknown preset {name!r}; allowed: {allowed}")
    lines = (line.strip() for line in path.read_text().splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def choose_ports(request: ServeRequest, count: int) -> list[int]:
    """`count` ports, the REST port first: the one asked for if it is free, otherwise free ones.

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

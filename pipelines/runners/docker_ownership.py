"""Who started a container: labels that say so, and the removal of what dead owners left behind."""

import os
import secrets
import socket
from collections.abc import Iterable
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from docker import DockerClient

# Compose puts its own project label on all it makes; ours says that it is Tandem's, and whose.
PROJECT_LABEL = "io.tandem.project"
OWNER_LABEL = "io.tandem.owner"
COMPOSE_LABEL = "com.docker.compose.project"
STANDING = "standing"
# Where /proc/PID/stat has a process's start, after its name, which may hold anything.
START_FIELD = 19
Filters = dict[str, str | list[str] | bool]


def new_project(command: str) -> str:
    """Make a compose project name that no other run has: `tandem-COMMAND-` and eight random hex digits."""
    return f"tandem-{command}-{secrets.token_hex(4)}"


def owner() -> str:
    """Identify this process in a label: host, process id and start, because ids are reused."""
    process = psutil.Process(os.getpid())
    return f"{socket.gethostname()}/{process.pid}/{_start(process)}"


def _start(process: psutil.Process) -> str:
    """Return when a process started, counted from the machine's start: dates move when the clock is set."""
    try:
        stat = Path(f"/proc/{process.pid}/stat").read_text()
    except OSError:  # it has ended, or there is no /proc
        return f"{process.create_time():.2f}"
    return stat.rpartition(")")[2].split()[START_FIELD]


def is_dead(owned_by: str) -> bool:
    """Return whether the owner of a label has certainly ended; False where it cannot be known from here."""
    try:
        host, pid, started = owned_by.split("/")
        if host != socket.gethostname():
            return False
        process = psutil.Process(int(pid))
        # A killed process whose parent has not asked for its exit code is dead all the same.
        ended = process.status() == psutil.STATUS_ZOMBIE
        return ended or _start(process) != started
    except psutil.NoSuchProcess:
        return True
    except (ValueError, psutil.AccessDenied):
        return False


@dataclass(frozen=True)
class Leftover:
    """A project of ours: its name and the owner in its labels; None for one that stands by itself."""

    project: str
    owner: str | None

    @property
    def abandoned(self) -> bool:
        """Whether its owner died without removing it."""
        return self.owner is not None and is_dead(self.owner)


def projects(client: "DockerClient") -> list[Leftover]:
    """List every project of Tandem's on this engine, of every owner."""
    filters: Filters = {"label": PROJECT_LABEL}
    found: dict[str, str | None] = {}
    networks = (network.attrs.get("Labels") or {} for network in client.networks.list(filters=filters))
    containers = (
        container.labels
        for container in client.containers.list(all=True, filters=filters, ignore_removed=True)
    )
    volumes = (volume.attrs.get("Labels") or {} for volume in client.volumes.list(filters=filters))
    for labels in (*networks, *volumes, *containers):
        found[labels[PROJECT_LABEL]] = labels.get(OWNER_LABEL)
    return [Leftover(*pair) for pair in sorted(found.items())]


def remove_abandoned(client: "DockerClient") -> list[str]:
    """Remove what dead processes left; never anything of a live one. Returns the projects' names."""
    gone = [found.project for found in projects(client) if found.abandoned]
    for project in gone:
        remove_project(client, project)
    return gone


def remove_project(client: "DockerClient", project: str) -> None:
    """Remove a project's containers, networks and volumes; harmless where there are none."""
    from docker.errors import APIError, NotFound

    filters: Filters = {"label": f"{COMPOSE_LABEL}={project}"}
    for container in client.containers.list(all=True, filters=filters, ignore_removed=True):
        with suppress(NotFound):
            try:
                container.remove(force=True, v=True)
            except APIError as error:
                if "already in progress" not in str(error):
                    raise
    for network in client.networks.list(filters=filters):
        with suppress(NotFound):
            network.remove()
    for volume in client.volumes.list(filters=filters):
        with suppress(NotFound):
            volume.remove(force=True)


def remains(client: "DockerClient", project: str) -> list[str]:
    """List what a project still has, as "container NAME", "network NAME" or "volume NAME"."""
    filters: Filters = {"label": f"{COMPOSE_LABEL}={project}"}
    return [
        *_named("container", client.containers.list(all=True, filters=filters, ignore_removed=True)),
        *_named("network", client.networks.list(filters=filters)),
        *_named("volume", client.volumes.list(filters=filters)),
    ]


def _named(kind: str, things: Iterable[object]) -> list[str]:
    return [f"{kind} {getattr(thing, 'name', '?')}" for thing in things]


def main() -> None:
    """Remove what dead processes left on the engine; the guard runs this after its command was killed."""
    from pipelines.package.engine import connect

    with closing(connect()) as client:
        remove_abandoned(client)


if __name__ == "__main__":
    main()

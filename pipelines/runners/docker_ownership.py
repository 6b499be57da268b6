"""Who started a container: labels that say so, and the removal of what dead owners left behind."""

import os
import secrets
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from pipelines.errors import MachineError
from pipelines.runners.docker_trouble import why

if TYPE_CHECKING:
    from docker.errors import APIError

    from docker import DockerClient

# Compose puts its own project label on all it makes; ours says that it is Tandem's, and whose.
PROJECT_LABEL = "io.tandem.project"
OWNER_LABEL = "io.tandem.owner"
COMPOSE_LABEL = "com.docker.compose.project"
STANDING = "standing"
# Where /proc/PID/stat has a process's start, after its name, which may hold anything.
START_FIELD = 19
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
PID_NAMESPACE = Path("/proc/self/ns/pid")
# A network or volume is refused until the container that uses it is gone, which others may be removing.
GONE_LIMIT_S, LOOK_S = 10.0, 0.2
Filters = dict[str, str | list[str] | bool]


def new_project(command: str) -> str:
    """Make a compose project name that no other run has: `tandem-COMMAND-` and eight random hex digits."""
    return f"tandem-{command}-{secrets.token_hex(4)}"


def owner() -> str:
    """Identify this process in a label: host, process id and start, because ids are reused, and whose ids."""
    process = psutil.Process(os.getpid())
    return f"{socket.gethostname()}/{process.pid}/{_start(process)}/{_whose_ids()}"


def standing_owner() -> str:
    """Identify this user of this machine in the label of what outlives its command."""
    return f"{STANDING}/{socket.gethostname()}/{os.getuid()}"


def _whose_ids() -> str:
    """Name the boot and the namespace of our process ids: machines and containers share host names."""
    try:
        return f"{BOOT_ID.read_text().strip()}/{PID_NAMESPACE.stat().st_ino}"
    except OSError:  # there is no /proc, and so no namespace of process ids
        return "/"


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
        host, pid, started, whose_ids = owned_by.split("/", 3)
        if (host, whose_ids) != (socket.gethostname(), _whose_ids()):
            return False
        process = psutil.Process(int(pid))
        # A killed process whose parent has not asked for its exit code is dead all the same.
        ended = process.status() == psutil.STATUS_ZOMBIE
        return ended or _start(process) != started
    except psutil.NoSuchProcess as error:
        return not _exists(error.pid)
    except (ValueError, psutil.AccessDenied):
        return False


def _exists(pid: int) -> bool:
    """Return whether there is such a process: another user's may be hidden from /proc (hidepid)."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # it is there and not ours; or that is no process id, which says nothing
        return True
    return True


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


def remove_abandoned(client: "DockerClient") -> dict[str, str | None]:
    """Remove what dead processes left; never anything of a live one.

    Returns why the engine kept it by the project's name; None where it is gone.
    """
    abandoned = [found.project for found in projects(client) if found.abandoned]
    refusals = _remove_all(client, abandoned)
    return {
        project: _refused(project, refusals[project]) if project in refusals else None
        for project in abandoned
    }


def _remove_all(client: "DockerClient", names: Iterable[str]) -> "dict[str, APIError]":
    """Remove projects until the engine has let go of all, or `GONE_LIMIT_S` is over; return what it said."""
    ends, refusals = time.monotonic() + GONE_LIMIT_S, _refusals(client, names)
    while refusals and time.monotonic() < ends:
        time.sleep(LOOK_S)
        refusals = _refusals(client, refusals)
    return refusals


def _refusals(client: "DockerClient", names: Iterable[str]) -> "dict[str, APIError]":
    answers = {project: _remove_once(client, project) for project in names}
    return {project: refusal for project, refusal in answers.items() if refusal is not None}


def _refused(project: str, refusal: "APIError") -> str:
    said = " ".join(why(refusal).split())
    return f"the engine does not remove {project}: {said}; remove it by hand, or restart the engine"


def remove_project(client: "DockerClient", project: str) -> None:
    """Remove a project's containers, networks and volumes; harmless where there are none.

    What the engine refuses is tried again for `GONE_LIMIT_S`: another command may be removing it as well.

    Raises:
        MachineError: the engine still refuses.
    """
    refusals = _remove_all(client, [project])
    if project in refusals:
        raise MachineError(_refused(project, refusals[project])) from refusals[project]


def _remove_once(client: "DockerClient", project: str) -> "APIError | None":
    """Remove what the engine lets go of; return the last thing it said against the rest."""
    from docker.errors import APIError, NotFound

    refusal = None
    try:
        for remove in _removals(client, project):
            try:
                remove()
            except NotFound:
                continue
            except APIError as error:
                refusal = error
    except APIError as error:
        return error
    return refusal


def _removals(client: "DockerClient", project: str) -> Iterator[Callable[[], object]]:
    """Yield what removes each thing of a project, containers first."""
    filters: Filters = {"label": f"{COMPOSE_LABEL}={project}"}
    for container in client.containers.list(all=True, filters=filters, ignore_removed=True):
        yield partial(container.remove, force=True, v=True)
    for network in client.networks.list(filters=filters):
        yield network.remove
    for volume in client.volumes.list(filters=filters):
        yield partial(volume.remove, force=True)


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

"""Making containers from docker/compose.yaml, the one place where limits and security options are written."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from pipelines.errors import MachineError, RequestError
from pipelines.files.atomic import write_atomically
from pipelines.machine.cores import expand
from pipelines.package.engine import engine_environment
from pipelines.processes.group import end_group
from pipelines.runners.docker_ownership import OWNER_LABEL, PROJECT_LABEL, owner
from pipelines.targets.container import CONFIGURATION

DOCKER = Path(__file__).parents[2] / "docker"
COMPOSE_FILE = DOCKER / "compose.yaml"
CREATE_LIMIT_S = 120.0
PROBE_LIMIT_S = 20.0
LAST_LINES = 4
# What docker/compose.yaml grants a server of one core, and what each further core adds.
BASE_GIB, CORE_GIB, CORE_PIDS = 1, 1, 2048
PIDS = re.compile("[1-9][0-9]{0,6}")


@dataclass(frozen=True)
class Stack:
    """Services of the compose file under a project name of their own.

    Attributes:
        variables: for the compose file, added to our environment.
        overlays: further compose files.
        configurations: folders, by service, that its server is configured from.
    """

    project: str
    services: tuple[str, ...]
    variables: Mapping[str, str]
    overlays: Sequence[Path] = field(default=())
    configurations: Mapping[str, Path] = field(default_factory=dict)

    def labels(self) -> dict[str, str]:
        """Return the labels of everything in this stack, so that it can be found after we are gone."""
        return {PROJECT_LABEL: self.project, OWNER_LABEL: owner()}


def create(stack: Stack, work: Path) -> None:
    """Make the stack's containers and networks; nothing of it runs yet. `work` takes one small file.

    Raises:
        MachineError: there is no compose command, or it failed; with its last lines.
    """
    override = work / f"{stack.project}.json"
    write_atomically(override, json.dumps(_override(stack), indent=2))
    files = [argument for path in (COMPOSE_FILE, *stack.overlays, override) for argument in ("-f", str(path))]
    command = [*compose_command(), "-p", stack.project, *files, "up", "--no-start", *stack.services]
    code, output = _run(command, engine_environment({**stack.variables, "COMPOSE_ANSI": "never"}))
    if code != 0:
        raise MachineError(f"compose could not make {', '.join(stack.services)}: {_last(output)}")


def grants(cores: Sequence[int]) -> dict[str, str]:
    """Return the variables that grant a server these cores, and memory and processes in proportion.

    Many servers have a worker for every core, each with a thread for every core. What the user's environment
    says of memory and processes stays.

    Args:
        cores: none for TANDEM_CPUSET's, else for the first that this process may use.

    Raises:
        RequestError: TANDEM_CPUSET is no list of cores.
    """
    asked = {"TANDEM_CPUSET": ",".join(map(str, cores)), "TANDEM_CPUS": str(len(cores))} if cores else {}
    granted = cores or _usual_cores()
    usual = {
        "TANDEM_CPUSET": ",".join(map(str, granted)),
        "TANDEM_MEMORY": f"{BASE_GIB + len(granted) * CORE_GIB}g",
        "TANDEM_PIDS": str(len(granted) * CORE_PIDS),
    }
    return {name: value for name, value in usual.items() if not os.environ.get(name)} | asked


def _usual_cores() -> tuple[int, ...]:
    named = os.environ.get("TANDEM_CPUSET")
    try:
        return expand(named) if named else (min(os.sched_getaffinity(0)),)
    except ValueError as error:
        raise RequestError(
            f"TANDEM_CPUSET is {named!r}: {error}; allowed: cores such as 0 or 0,2-3"
        ) from error


def _override(stack: Stack) -> dict[str, Any]:
    """Add labels to everything, and the servers' configurations and numbers of processes."""
    import yaml

    described = yaml.safe_load(COMPOSE_FILE.read_text())
    labels, limit = stack.labels(), _pids_limit(stack.variables)
    networks = described.get("networks") or {"default": None}
    volumes = described.get("volumes") or {}
    override: dict[str, Any] = {
        "services": {
            name: {"labels": labels, "volumes": _mounts(stack.configurations.get(name))}
            | (limit if name in described["services"] else {})
            for name in stack.services
        },
        "networks": {name: {"labels": labels} for name in networks},
        "volumes": {name: {"labels": labels} for name in volumes},
    }
    return {"version": described["version"], **override} if "version" in described else override


def _pids_limit(variables: Mapping[str, str]) -> dict[str, int]:
    """Return the most processes and threads of a server, where something says it.

    Raises:
        RequestError: the user's environment says what is no such number.
    """
    text = variables.get("TANDEM_PIDS") or os.environ.get("TANDEM_PIDS")
    if not text:
        return {}
    if not PIDS.fullmatch(text):
        raise RequestError(
            f"TANDEM_PIDS is {text[:80]!r}; allowed: a number of processes and threads above 0, such as 2048"
        )
    return {"pids_limit": int(text)}


def _mounts(configuration: Path | None) -> list[dict[str, Any]]:
    if configuration is None:
        return []
    # Compose takes a dollar sign for a variable, and what an image has baked in is hidden by the mount.
    source = str(configuration.resolve()).replace("$", "$$")
    return [{"type": "bind", "source": source, "target": CONFIGURATION, "read_only": True}]


def write_configuration(folder: Path, files: Mapping[str, str]) -> Path:
    """Write what a container's server is configured from, readable for the user that it runs as.

    Raises:
        MachineError: the disk refused.
    """
    for name, text in files.items():
        write_atomically(folder / name, text)
    folder.chmod(0o755)
    return folder


@cache
def compose_command() -> tuple[str, ...]:
    """Return `docker compose` if the plugin is installed, else `docker-compose`.

    Raises:
        MachineError: there is neither.
    """
    if shutil.which("docker") and _answers(("docker", "compose", "version")):
        return ("docker", "compose")
    if shutil.which("docker-compose"):
        return ("docker-compose",)
    raise MachineError(
        "neither `docker compose` nor `docker-compose` is installed; install one (Debian: "
        "apt install docker-compose), or use --runner local"
    )


def _answers(command: Sequence[str]) -> bool:
    try:
        done = subprocess.run(
            command, capture_output=True, timeout=PROBE_LIMIT_S, check=False, env=engine_environment()
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return done.returncode == 0


def _run(command: Sequence[str], environment: Mapping[str, str]) -> tuple[int, str]:
    """Run to the end; a Ctrl-C ends compose as a group and is passed on."""
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=dict(environment),
        start_new_session=True,
    ) as process:
        try:
            output, _ = process.communicate(timeout=CREATE_LIMIT_S)
        except subprocess.TimeoutExpired:
            return 1, f"it did not end within {CREATE_LIMIT_S:.0f} s"
        finally:
            end_group(process)
    return process.returncode, output.decode(errors="replace")


def _last(output: str) -> str:
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line).strip() for line in output.splitlines()]
    return " | ".join([line for line in lines if line][-LAST_LINES:])

"""What this machine is able to do, and the remedy for what it is not."""

import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pipelines.environments.known import ENVIRONMENTS, Environment
from pipelines.errors import MachineError
from pipelines.machine.cores import Cores, listed, split_cores
from pipelines.package.engine import engine_environment
from pipelines.targets.needs import Check, checks_of, package
from pipelines.targets.registry import TARGETS

NEEDED_DISK_BYTES = 2_000_000_000
NEEDED_MEMORY_BYTES = 3_000_000_000
PROBE_LIMIT_S = 10.0


def examine(cores: Cores | None = None) -> list[Check]:
    """Look at everything; nothing is started that outlives the call. `cores` as a run would split them."""
    with ThreadPoolExecutor() as pool:  # programs of others answer while we look
        docker, compose = pool.submit(_docker), pool.submit(_compose)
        return [
            _cores(cores or split_cores()),
            _memory(),
            _disk(),
            *checks_of(TARGETS.values()),
            package("locust"),
            *(probe.result() for probe in (docker, compose)),
            *map(_environment, ENVIRONMENTS.values()),
        ]


def _cores(cores: Cores) -> Check:
    """Report the split that a run would use, why, and what it costs where it is not a clean one."""
    usable = sorted(os.sched_getaffinity(0))
    detail = (
        f"{len(usable)} usable ({listed(usable)}): server {listed(cores.server)}, "
        f"load generator {listed(cores.generator)}, as its one thread needs{_idle(cores)}"
    )
    remedy = _core_remedy(cores, len(usable))
    return Check("CPU cores", remedy is None, required=False, found=detail, remedy=remedy)


def _idle(cores: Cores) -> str:
    if not cores.idle:
        return ""
    return f"; idle {listed(cores.idle)}, a hyper-thread of the generator's core that would slow it"


def _core_remedy(cores: Cores, usable_count: int) -> str | None:
    if cores.shared:
        rest = "use two cores or more" if usable_count == 1 else "choose cores that do not overlap"
        return (
            f"{rest}: server and load generator disturb each other, so each one's queue is in the latencies"
        )
    if cores.coupled:
        return (
            f"use another physical core: {listed(cores.coupled)} and {listed(cores.generator)} are "
            "hyper-threads of one, so server and load generator slow each other"
        )
    return None


def _memory() -> Check:
    import psutil

    available = psutil.virtual_memory().available
    ok = available >= NEEDED_MEMORY_BYTES
    remedy = None if ok else f"free memory: {NEEDED_MEMORY_BYTES / 1e9:.0f} GB are needed"
    return Check("memory", ok, required=True, found=f"{available / 1e9:.1f} GB available", remedy=remedy)


def _disk() -> Check:
    free = shutil.disk_usage(Path.cwd()).free
    ok = free >= NEEDED_DISK_BYTES
    remedy = (
        None if ok else f"free disk space: {NEEDED_DISK_BYTES / 1e9:.0f} GB are needed for runs and artifacts"
    )
    return Check("disk", ok, required=True, found=f"{free / 1e9:.1f} GB free here", remedy=remedy)


def _environment(environment: Environment) -> Check:
    """Check the environment of a road without a Keras twin; one that nobody needed yet is no fault."""
    name = f"environment {environment.name}"
    try:
        environment.require_python()
        environment.require_system()
        is_made = environment.made
        detail = f"made: {environment.folder}" if is_made else "not made yet"
    except MachineError as error:
        return Check(name, ok=False, required=False, found="cannot be made", remedy=str(error))
    remedy = None
    if not is_made:
        detail += f" ({environment.purpose})"
        remedy = f"nothing to do: made on first use, {environment.disk_mb} MB, with a package index"
    return Check(name, is_made, required=False, found=detail, remedy=remedy)


def _docker() -> Check:
    answer = _ask("docker", "version", "--format", "{{.Server.Version}}")
    remedy = (
        "install and start a Docker engine to use containers (Debian: docker.io); local servers work without"
    )
    return Check(
        "Docker engine",
        bool(answer),
        required=False,
        found=answer or "none answers",
        remedy=_unless(answer, remedy),
    )


def _compose() -> Check:
    answer = _ask("docker", "compose", "version", "--short") or _ask("docker-compose", "version", "--short")
    remedy = "install Docker Compose to use the compose stacks (Debian: docker-compose)"
    return Check(
        "Docker Compose",
        bool(answer),
        required=False,
        found=answer or "not found",
        remedy=_unless(answer, remedy),
    )


def _unless(value: str | None, remedy: str) -> str | None:
    return None if value else remedy


def _ask(*command: str) -> str | None:
    """Return the first line a command prints; None if it is missing, fails or does not answer in time."""
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=PROBE_LIMIT_S,
            check=True,
            env=engine_environment(),
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip().splitlines()[0] if done.stdout.strip() else None

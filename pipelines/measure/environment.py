"""What ran where: the machine, the versions, and who used its CPU while a round was measured."""

import os
import platform
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import psutil

from pipelines.artifacts.manifest import versions
from pipelines.machine.cores import Cores
from pipelines.machine.java import find_java
from pipelines.record.environment import EnvironmentRecord
from pipelines.targets.registry import TARGETS

# Of the harness; what each target is made and run with is its own to name.
HARNESS = ("gevent", "grpcio", "locust", "numpy", "tandem-serving")
PACKAGES = sorted(
    {*HARNESS, *(name for target in TARGETS.values() for name in (*target.toolchain, *target.serving))}
)


@cache
def describe(cores: Cores) -> EnvironmentRecord:
    """Describe the machine and the versions, as run.json holds them."""
    return EnvironmentRecord(
        os=_os_name(),
        kernel=platform.release(),
        cpu_model=_cpu_model(),
        cores_count=os.cpu_count() or 1,
        memory_bytes=psutil.virtual_memory().total,
        server_cores=cores.server,
        generator_cores=cores.generator,
        idle_cores=cores.idle,
        versions={
            "python": platform.python_version(),
            "java": find_java().version,
            **versions(PACKAGES),
        },
        git_commit=_git_commit(),
    )


def _os_name() -> str:
    with suppress(OSError):
        return platform.freedesktop_os_release().get("PRETTY_NAME", platform.system())
    return platform.system()


def _cpu_model() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _git_commit(file: Path = Path(__file__)) -> str | None:
    with suppress(OSError, subprocess.SubprocessError):
        # Installed packages may lie in somebody's repository, whose commit is not ours.
        _git("ls-files", "--error-unmatch", file.name, cwd=file.parent)
        return _git("describe", "--always", "--dirty", "--abbrev=12", "--exclude=*", cwd=file.parent)
    return None


def _git(*arguments: str, cwd: Path) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=cwd, capture_output=True, text=True, timeout=10, check=True
    )
    return done.stdout.strip()


@dataclass(frozen=True)
class CpuUse:
    """CPU seconds so far: of the whole machine, and of the processes that belong to a measurement."""

    busy_s: float
    steal_s: float
    total_s: float
    ours_s: float


@dataclass(frozen=True)
class CpuShares:
    """Shares of all cores between two readings; None where the clock did not advance."""

    steal: float | None
    foreign: float | None


def read_cpu() -> CpuUse:
    """Read the machine's CPU clocks, and those of this process and its ended children."""
    times = psutil.cpu_times()
    steal = getattr(times, "steal", 0.0)
    idle = times.idle + getattr(times, "iowait", 0.0)
    total = sum(getattr(times, name) for name in ("user", "nice", "system", "irq", "softirq")) + idle + steal
    return CpuUse(total - idle - steal, steal, total, own_cpu_s())


def own_cpu_s() -> float:
    """Return the CPU seconds of this process and of its children that have ended."""
    own = os.times()
    return own.user + own.system + own.children_user + own.children_system


def cpu_shares(before: CpuUse, after: CpuUse) -> CpuShares:
    """Return the shares of all cores that the host stole, and that unrelated processes used."""
    total = after.total_s - before.total_s
    if total <= 0:
        return CpuShares(None, None)
    foreign = (after.busy_s - before.busy_s) - (after.ours_s - before.ours_s)
    return CpuShares(max(0.0, (after.steal_s - before.steal_s) / total), max(0.0, foreign / total))

"""What the kernel counts for a container: its control group's memory and CPU, versions 1 and 2."""

from dataclasses import dataclass
from pathlib import Path

from pipelines.units import NS_PER_S, US_PER_S

UNIFIED = ""
PROC = Path("/proc")


@dataclass(frozen=True)
class Usage:
    """One reading; None for what this kernel does not count.

    Attributes:
        memory_bytes: held now, without file pages that could be dropped at once.
        peak_bytes: the most ever held, file pages included.
        cpu_s: user and system time of all processes, ended ones too.
        oom_kills: processes killed because the limit was reached.
    """

    memory_bytes: int | None
    peak_bytes: int | None
    cpu_s: float | None
    oom_kills: int | None


@dataclass(frozen=True)
class ControlGroup:
    """The folders in which the kernel shows a group's counters, by controller; "" is version 2's only one."""

    folders: dict[str, Path]

    @classmethod
    def of(
        cls, pid: int, container_id: str, proc: Path = PROC, root: Path = Path("/sys/fs/cgroup")
    ) -> "ControlGroup":
        """Find the control groups of a container whose engine says that `pid` is its first process.

        Raises:
            OSError: the process is gone, is another one here, or its groups are not to be seen from here.
        """
        folders = {}
        for line in lines_of(pid, container_id, proc):
            _, controllers, path = line.split(":", 2)
            for controller in controllers.split(","):
                folder = _folder(root, controllers, controller, path)
                if folder is not None:
                    folders[controller] = folder
        group = cls(folders)
        if group._memory is None:
            raise FileNotFoundError(f"no memory counters of process {pid} under {root}")
        return group

    @property
    def version(self) -> int:
        """1 where memory has a hierarchy of its own, else 2."""
        return 1 if "memory" in self.folders else 2

    @property
    def _memory(self) -> Path | None:
        return self.folders.get("memory", self.folders.get(UNIFIED))

    def read(self) -> Usage:
        """Read all counters; every one is None once the group is gone."""
        memory = self._memory
        if memory is None or not memory.is_dir():
            return Usage(None, None, None, None)
        return self._read_v1(memory) if self.version == 1 else _read_v2(memory)

    def _read_v1(self, memory: Path) -> Usage:
        used = _number(memory / "memory.usage_in_bytes")
        droppable = _entry(memory / "memory.stat", "total_inactive_file") or 0
        cpu_ns = _number(self.folders["cpuacct"] / "cpuacct.usage") if "cpuacct" in self.folders else None
        return Usage(
            memory_bytes=None if used is None else max(0, used - droppable),
            peak_bytes=_number(memory / "memory.max_usage_in_bytes"),
            cpu_s=None if cpu_ns is None else cpu_ns / NS_PER_S,
            oom_kills=_entry(memory / "memory.oom_control", "oom_kill"),
        )


def lines_of(pid: int, container_id: str, proc: Path = PROC) -> list[str]:
    """Return the kernel's lines about the control groups of process `pid` that are the container's own.

    An engine in a virtual machine, or outside the container that we are in, counts other processes. Every
    driver names a container's group after it: `docker/ID`, `docker-ID.scope`, `libpod-ID.scope`. A rootless
    engine that was given no control groups makes none, and then nothing is counted for the container alone.

    Raises:
        OSError: there is no such process, or it is not the container's.
    """
    lines = (proc / str(pid) / "cgroup").read_text().splitlines()
    own = [line for line in lines if container_id in line.split(":", 2)[2]]
    if not own:
        raise FileNotFoundError(f"process {pid} of this machine is not in the container {container_id[:12]}")
    return own


def _read_v2(folder: Path) -> Usage:
    used = _number(folder / "memory.current")
    droppable = _entry(folder / "memory.stat", "inactive_file") or 0
    cpu_us = _entry(folder / "cpu.stat", "usage_usec")
    return Usage(
        memory_bytes=None if used is None else max(0, used - droppable),
        peak_bytes=_number(folder / "memory.peak"),
        cpu_s=None if cpu_us is None else cpu_us / US_PER_S,
        oom_kills=_entry(folder / "memory.events", "oom_kill"),
    )


def _folder(root: Path, controllers: str, controller: str, path: str) -> Path | None:
    """Find the folder; version 1 mounts a hierarchy by its controllers' names, one of them or all."""
    for name in dict.fromkeys((controllers, controller)):
        folder = root / name / path.lstrip("/")
        if folder.is_dir():
            return folder
    return None


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def _entry(path: Path, name: str) -> int | None:
    """Return the number after `name` in a file of "name number" lines."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        key, _, value = line.partition(" ")
        if key == name:
            return int(value)
    return None

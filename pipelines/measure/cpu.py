"""Who used the CPU while something was measured, core by core, read at two moments."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from pipelines.machine.cores import Cores
from pipelines.machine.speed_probe import Totals
from pipelines.measure.compilers import CompilerClock
from pipelines.measure.environment import own_cpu_s
from pipelines.measure.machine_speed import Group, MachineSpeed, probe_ms
from pipelines.runners.docker_cpu import engine_cpu_s
from pipelines.runners.server import Place, Server
from pipelines.targets.address import URL

STAT = Path("/proc/stat")
TICKS_PER_S = 100.0
"""USER_HZ, which is 100 on every architecture we run on (man 5 proc)."""
TICK_S = 1 / 250
"""How often the kernel looks who works: CONFIG_HZ of most distributions, whatever unit it counts in."""
SPREADS = 2.0


@dataclass(frozen=True)
class CoreClock:
    """Seconds one core has spent so far: working for programs, held back by a virtual machine's host, in all.

    Interrupts are no work of a program: most kernels keep them out of the times of processes, and whatever
    is not ours would be taken for another program's.
    """

    busy_s: float
    steal_s: float
    total_s: float


@dataclass(frozen=True)
class CpuReading:
    """The machine's clocks at one moment.

    Attributes:
        cores: by core number.
        server_s: CPU seconds of all servers of the run; those that are paused use nothing.
        generator_s: of the load generator.
        harness_s: of this process, its ended children, probes and the container engine, which run anywhere.
        measured_server_s: of the one server under load; None where that is not known.
        compilers_s: of that, what its just-in-time compilers used; None where that is not known.
        probes: what the probes of the machine's speed had seen.
    """

    cores: Mapping[int, CoreClock]
    server_s: float = 0.0
    generator_s: float = 0.0
    harness_s: float = 0.0
    measured_server_s: float | None = 0.0
    compilers_s: float | None = None
    probes: Mapping[Group, Totals] = field(default_factory=dict)


@dataclass(frozen=True)
class Neighbours:
    """What was not ours between two readings, on this machine alone.

    None where the clocks did not advance or cannot be read, and what other programs used where the server is
    one of them and cannot be told apart.

    Attributes:
        foreign_cores: cores' worth of other programs, on the whole machine.
        foreign_share: of a core that serves or generates, the most that it may be; or of several cores
            together.
        steal_share: the largest share of such a core that the host took.
    """

    foreign_cores: float | None = None
    foreign_share: float | None = None
    steal_share: float | None = None


@dataclass
class Edges:
    """The readings at the two edges of a window, as far as they were taken."""

    before: CpuReading | None = None
    after: CpuReading | None = None

    def neighbours(self, cores: Cores, place: Place = "cores") -> Neighbours:
        """Return what was not ours in the window, where the server under load is at `place`."""
        if self.before is None or self.after is None:
            return Neighbours()
        return neighbours(self.before, self.after, cores, place, each_core=True)

    def slowdowns(self, speed: MachineSpeed | None, place: Place = "cores") -> dict[Group, float]:
        """Return how many times as long as usual a computation took, by group of cores, as far as known."""
        if speed is None or self.before is None or self.after is None:
            return {}
        return speed.slowdowns(self.before.probes, self.after.probes, place)

    def server_probe_ms(self, place: Place = "cores") -> float | None:
        """Return how long the same computation took on the server's cores; None where it was not timed."""
        if self.before is None or self.after is None or place == "elsewhere":
            return None
        return probe_ms(self.before.probes, self.after.probes, "server")

    @property
    def server_cpu_s(self) -> float | None:
        """What the server under load used in the window; None where it took its count along."""
        if self.before is None or self.after is None:
            return None
        return between_s(self.before.measured_server_s, self.after.measured_server_s) or None

    @property
    def compilers_cpu_s(self) -> float | None:
        """What its just-in-time compilers used in the window; a thread that ended takes its count along."""
        if self.before is None or self.after is None:
            return None
        return between_s(self.before.compilers_s, self.after.compilers_s)


def between_s(before_s: float | None, after_s: float | None) -> float | None:
    """Return what was used between two readings, at least 0: what has ended takes its count along."""
    return None if before_s is None or after_s is None else max(0.0, after_s - before_s)


def read_cpu(
    server: Server,
    servers: Sequence[Server],
    generator_pid: int,
    speed: MachineSpeed | None = None,
    compilers: CompilerClock | None = None,
) -> CpuReading:
    """Read all clocks: of every core, of the run's servers, of its generator, and of ourselves.

    A running endpoint counts while it is under load only: at other times it is a neighbour.
    """
    cores = read_cores()
    contained = any(other.plan.implementation.runner == "docker" for other in servers)
    ours = [other for other in servers if other is server or other.plan.implementation.runner != URL]
    used_s = {id(other): other.cpu_s() for other in ours}
    probes = speed.read() if speed else {}
    probes_s = sum(totals.used_s for totals in probes.values())
    return CpuReading(
        cores=cores,
        server_s=sum(seconds or 0.0 for seconds in used_s.values()),
        generator_s=_process_cpu_s(generator_pid),
        harness_s=own_cpu_s() + probes_s + (engine_cpu_s() if contained else 0.0),
        measured_server_s=used_s[id(server)],
        compilers_s=compilers.read_s() if compilers else None,
        probes=probes,
    )


def read_cores(stat: Path = STAT) -> dict[int, CoreClock]:
    """Read every core's clock from /proc/stat; return none if it cannot be read."""
    try:
        lines = stat.read_text().splitlines()
    except OSError:
        return {}
    clocks = {}
    for line in lines:
        name, *ticks = line.split()
        if name.startswith("cpu") and name[3:].isdigit():
            clocks[int(name[3:])] = _core_clock([int(tick) / TICKS_PER_S for tick in ticks])
    return clocks


def _core_clock(seconds: Sequence[float]) -> CoreClock:
    """Sum user, nice, system, idle, iowait, irq, softirq and steal; guest time is part of user."""
    user, nice, system, idle, iowait, irq, softirq, steal = [*seconds[:8], *[0.0] * (8 - len(seconds))]
    busy_s = user + nice + system
    return CoreClock(busy_s, steal, busy_s + idle + iowait + irq + softirq + steal)


def _process_cpu_s(pid: int) -> float:
    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return times.user + times.system


def neighbours(
    before: CpuReading, after: CpuReading, cores: Cores, place: Place = "cores", *, each_core: bool = False
) -> Neighbours:
    """Return the cores used by neither servers nor generator nor ourselves.

    Which cores count depends on where the server under load is: elsewhere, only the generator's are looked
    at; here but on whichever cores, all of them together; hidden, nothing can be said but what the host took.

    Which core our own process ran on is not known, so its time is taken off every group of cores. It is some
    milliseconds in a second.

    Args:
        each_core: whether it is a share of the core that may have lost most; else of all cores of a group.
    """
    elapsed_s = max((_difference(before, after, core).total_s for core in after.cores), default=0.0)
    if elapsed_s <= 0:
        return Neighbours()
    server_s = after.server_s - before.server_s
    generator_s = after.generator_s - before.generator_s
    harness_s = after.harness_s - before.harness_s
    steal = _worst_steal(before, after, (() if place == "elsewhere" else cores.server) + cores.generator)
    if place == "hidden":
        return Neighbours(steal_share=steal)
    share_of = _worst_foreign_share if each_core and place != "here" else _foreign_share
    groups = _groups(before, cores, place, server_s, generator_s)
    shares = [
        share_of([_difference(before, after, number) for number in set(numbers)], ours_s + harness_s)
        for numbers, ours_s in groups
    ]
    busy_s = sum(_difference(before, after, core).busy_s for core in after.cores)
    foreign_s = busy_s - server_s - generator_s - harness_s
    return Neighbours(
        foreign_cores=max(0.0, foreign_s / elapsed_s),
        foreign_share=max((share for share in shares if share is not None), default=None),
        steal_share=steal,
    )


def _groups(
    before: CpuReading, cores: Cores, place: Place, server_s: float, generator_s: float
) -> list[tuple[tuple[int, ...], float]]:
    """Group the cores that are looked at together, with what we used of them."""
    if place == "elsewhere":
        return [(cores.generator, generator_s)]
    if place == "here":
        return [(tuple(before.cores), server_s + generator_s)]
    if cores.shared:
        return [(cores.server + cores.generator, server_s + generator_s)]
    return [(cores.server, server_s), (cores.generator, generator_s)]


def _foreign_share(clocks: Sequence[CoreClock], ours_s: float) -> float | None:
    total_s = sum(clock.total_s for clock in clocks)
    return _foreign_s(clocks, ours_s) / total_s if total_s > 0 else None


def _worst_foreign_share(clocks: Sequence[CoreClock], ours_s: float) -> float | None:
    """Return the largest share of one core that others may have used.

    On which of its cores a server was nobody can tell, so all that others used of a group may have been on
    any one of them, up to what that one worked. The errors of the kernel's samples add up over the cores of
    a group to more than is allowed of one, so that much is taken off first.
    """
    foreign_s = max(0.0, _foreign_s(clocks, ours_s) - _sampling_error_s(clocks))
    return max(
        (min(foreign_s, clock.busy_s) / clock.total_s for clock in clocks if clock.total_s > 0), default=None
    )


def _sampling_error_s(clocks: Sequence[CoreClock]) -> float:
    """Return two standard deviations of the sampled work of several cores, whose errors are independent.

    Who works on a core is looked at in every tick, so its work is binomial; one core is judged as it is.
    """
    if len(clocks) == 1:
        return 0.0
    variance = sum(
        max(0.0, clock.busy_s * (clock.total_s - clock.busy_s) / clock.total_s) * TICK_S
        for clock in clocks
        if clock.total_s > 0
    )
    return SPREADS * math.sqrt(variance)


def _foreign_s(clocks: Sequence[CoreClock], ours_s: float) -> float:
    return max(0.0, sum(clock.busy_s for clock in clocks) - ours_s)


def _worst_steal(before: CpuReading, after: CpuReading, numbers: Sequence[int]) -> float | None:
    clocks = [_difference(before, after, number) for number in set(numbers)]
    return max(
        (max(0.0, clock.steal_s / clock.total_s) for clock in clocks if clock.total_s > 0), default=None
    )


def _difference(before: CpuReading, after: CpuReading, core: int) -> CoreClock:
    nothing = CoreClock(0.0, 0.0, 0.0)
    a, b = before.cores.get(core), after.cores.get(core)
    if a is None or b is None:
        return nothing
    return CoreClock(b.busy_s - a.busy_s, b.steal_s - a.steal_s, b.total_s - a.total_s)

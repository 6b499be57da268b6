"""How fast some cores are, moment by moment: a small fixed computation, timed again and again.

    python -m pipelines.machine.speed_probe FILE CORE…

A neighbour on the other thread of the same physical core, whom a virtual machine does not see, or heat slow
whatever runs by half, and neither steal nor any program's CPU time shows it. The probe runs in the idle class
of the scheduler, so it gets the time that nobody wants, and on one core after the other. What is timed is
its own CPU time: it does not matter how long it had to wait.

Totals go to a small shared file, which the process that began this one reads when it likes.
"""

import mmap
import os
import struct
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

INTERVAL_S = 0.05
STEPS = 4000
"""Of the computation: a third of a millisecond on a core of the year 2024."""
WARM_STEPS = 1500
"""Before the clock starts, since whoever ran last has left the core its own caches."""
NS_PER_S = 1e9
LAYOUT = struct.Struct("=QQQQ")
"""Samples, nanoseconds they took, nanoseconds of CPU in all, and full seconds whose mean is in the ring."""
KEPT_S = 256
RING = struct.Struct(f"={KEPT_S}d")
SIZE = LAYOUT.size + RING.size


@dataclass(frozen=True)
class Totals:
    """What a probe has seen so far.

    Attributes:
        count: samples.
        total_s: the CPU seconds that they took.
        used_s: the CPU seconds that the probe used for everything.
        seconds: mean CPU seconds of a sample in each of the last seconds, in any order.
    """

    count: int
    total_s: float
    used_s: float
    seconds: tuple[float, ...]


def read(shared: mmap.mmap) -> Totals:
    """Read what a probe has written."""
    count, total_ns, used_ns, seconds_count = LAYOUT.unpack_from(shared)
    ring = RING.unpack_from(shared, LAYOUT.size)[: min(seconds_count, KEPT_S)]
    return Totals(count, total_ns / NS_PER_S, used_ns / NS_PER_S, tuple(ns / NS_PER_S for ns in ring))


def timed_ns() -> int:
    """Return the nanoseconds of this thread's CPU time that the computation takes now."""
    _compute(WARM_STEPS)
    started = time.thread_time_ns()
    _compute(STEPS)
    return time.thread_time_ns() - started


def _compute(steps: int) -> int:
    """Step a generator of congruential numbers: arithmetic that needs no memory."""
    state = 1
    for step in range(steps):
        state = (state * 1103515245 + step) & 0x7FFFFFFF
    return state


class Tally:
    """Adds samples up, and keeps a mean of each second."""

    def __init__(self, shared: mmap.mmap) -> None:
        self._shared = shared
        self._count = self._total_ns = self._seconds_count = 0
        self._second: int | None = None
        self._of_second: list[int] = []

    def add(self, sample_ns: int, now_s: float) -> None:
        """Add a sample that was taken at `now_s`."""
        if self._of_second and int(now_s) != self._second:
            self._keep(sum(self._of_second) / len(self._of_second))
        self._second = int(now_s)
        self._of_second.append(sample_ns)
        self._count += 1
        self._total_ns += sample_ns
        LAYOUT.pack_into(
            self._shared, 0, self._count, self._total_ns, time.process_time_ns(), self._seconds_count
        )

    def _keep(self, mean_ns: float) -> None:
        struct.pack_into("=d", self._shared, LAYOUT.size + 8 * (self._seconds_count % KEPT_S), mean_ns)
        self._seconds_count += 1
        self._of_second.clear()


def probe(
    shared: mmap.mmap, cores: Sequence[int], sample: Callable[[], int] = timed_ns, rounds: int | None = None
) -> None:
    """Time the computation on each of the cores in turn, `rounds` times or until the process ends."""
    tally, done = Tally(shared), 0
    while rounds is None or done < rounds:
        with suppress(OSError):  # a core that was taken away
            os.sched_setaffinity(0, {cores[done % len(cores)]})
        tally.add(sample(), time.monotonic())
        done += 1
        time.sleep(INTERVAL_S)


def main(arguments: Sequence[str]) -> None:
    """Probe the cores named, into the file named, until somebody ends this process."""
    file, *cores = arguments
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    with Path(file).open("r+b") as stream:
        probe(mmap.mmap(stream.fileno(), SIZE), [int(core) for core in cores])


if __name__ == "__main__":
    main(sys.argv[1:])

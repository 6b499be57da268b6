"""CPU time of the just-in-time compilers inside a server: a Java virtual machine has threads for them."""

import os
from pathlib import Path
from typing import Final

from pipelines.runners.local import process_tree

THREADS: Final = ("C1 CompilerThre", "C2 CompilerThre")
"""As HotSpot names them and Linux cuts names off, after fifteen characters."""

PROC: Final = Path("/proc")
USER, SYSTEM = 11, 12
"""Fields of /proc/PID/stat behind the name, which may hold spaces: utime and stime (man 5 proc)."""


class CompilerClock:
    """Reads what the compilers of a server's processes have used, as those are now.

    A server without such threads has used nothing; one that is no process of this machine cannot be read.
    """

    def __init__(self, pid: int) -> None:
        """Look for the processes; `pid` is the server's first, 0 where it is none of this machine."""
        self._pids = [process.pid for process in process_tree(pid)] if pid else []

    def read_s(self) -> float | None:
        """Return CPU seconds so far; a thread that has ended is not among them any more."""
        if not self._pids:
            return None
        tick_s = 1 / os.sysconf("SC_CLK_TCK")
        return tick_s * sum(map(_ticks, self._pids))


def _ticks(pid: int) -> int:
    try:
        threads = list((PROC / str(pid) / "task").iterdir())
    except OSError:  # it has ended
        return 0
    return sum(map(_compiler_ticks, threads))


def _compiler_ticks(thread: Path) -> int:
    """Return the ticks of a thread, 0 if it compiles nothing or is gone."""
    try:
        if (thread / "comm").read_text().rstrip("\n") not in THREADS:
            return 0
        fields = (thread / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return int(fields[USER]) + int(fields[SYSTEM])

"""CPU time of the just-in-time compilers inside a server: a Java virtual machine has threads for them."""

from pathlib import Path
from typing import Final

import psutil

from pipelines.runners.local import process_tree

THREADS: Final = ("C1 CompilerThre", "C2 CompilerThre")
"""As HotSpot names them and Linux cuts names off, after fifteen characters."""


class CompilerClock:
    """Reads what the compilers of a server's processes have used, as those are now.

    A server without such threads has used nothing; one that is no process of this machine cannot be read.
    """

    def __init__(self, pid: int) -> None:
        """Look for the processes; `pid` is the server's first, 0 where it is none of this machine."""
        self._tree = process_tree(pid) if pid else []

    def read_s(self) -> float | None:
        """Return CPU seconds so far; a thread that has ended is not among them any more."""
        return sum(map(_compilers_s, self._tree)) if self._tree else None


def _compilers_s(process: psutil.Process) -> float:
    try:
        threads = process.threads()
    except psutil.NoSuchProcess:
        return 0.0
    return sum(
        thread.user_time + thread.system_time for thread in threads if _compiles(process.pid, thread.id)
    )


def _compiles(pid: int, thread: int) -> bool:
    """Return whether a thread has a compiler's name; one that is gone has none."""
    try:
        return Path(f"/proc/{pid}/task/{thread}/comm").read_text().rstrip("\n") in THREADS
    except OSError:
        return False

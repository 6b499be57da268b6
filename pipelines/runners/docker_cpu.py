"""What the engine's own processes use of the CPU, so that it is never taken for a stranger's."""

from contextlib import suppress

import psutil

# They pass on requests (docker-proxy), carry logs and pauses (dockerd, shims), start containers. What other
# containers do is none of theirs: it stays foreign.
ENGINE_PROCESSES = frozenset({"dockerd", "containerd", "containerd-shim", "docker-proxy"})
# The kernel keeps 15 characters of a process's name.
SHIM_PREFIX = "containerd-shim"


def engine_cpu_s() -> float:
    """Sum the CPU seconds of all engine processes visible from here, ended helpers included."""
    total = 0.0
    for process in psutil.process_iter(["name"]):
        name = process.info["name"] or ""
        if name in ENGINE_PROCESSES or name.startswith(SHIM_PREFIX):
            with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                times = process.cpu_times()
                total += times.user + times.system + times.children_user + times.children_system
    return total

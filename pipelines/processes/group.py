"""Starting and ending operating-system processes so that none outlives us."""

import ctypes
import errno
import os
import random
import re
import resource
import signal
import socket
import subprocess
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psutil

from pipelines.files.atomic import full_disk
from pipelines.files.log_ends import read_end
from pipelines.hosts import bound_socket, port_of

PR_SET_PDEATHSIG = 1
TERMINATE_GRACE_S = 10.0
FEW_DESCRIPTORS = 256
"""Below this many open files a server, a framework or a generator may fail, each in words of its own."""
OUTGOING_PORTS = Path("/proc/sys/net/ipv4/ip_local_port_range")
FIRST_PORT = 10_000
KUBERNETES_PORT = 30_000
PORT_TRIES = 500
# Of this process: more than one block's servers have, and far fewer than there are.
_lately: deque[int] = deque(maxlen=2000)
# What hides the reason for which a process died: frames of a Java stack, what ExecuTorch's runtime says at
# every start on a machine that is no phone.
NOT_TELLING = re.compile(r"at [\w.$/<>]+\(.*\)$|\.\.\. \d+ more$|\[(cpuinfo_utils|threadpool)\.cpp:")
INTERRUPTS = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP})


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Let a Ctrl-C wait until a process is started and known; to be used with `before_exec`.

    Python runs functions of its own around a fork, and loses an exception that is raised inside one of them:
    the interrupt would be forgotten, or the new process.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, INTERRUPTS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def die_with_parent(signal_number: int = signal.SIGTERM) -> None:
    """Ask the kernel to send this process a signal when its parent ends, however that happens (Linux)."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal_number)


def before_exec(cores: Sequence[int] | None = None) -> Callable[[], None]:
    """Make the child's hook between fork and exec: heed signals, die with us, keep to `cores`.

    Looked up before the fork: between fork and exec nothing may import or take a lock.
    """
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    wanted = set(cores) if cores else None

    def prepare() -> None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, INTERRUPTS)
        prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if wanted:
            os.sched_setaffinity(0, wanted)

    return prepare


def end_group(process: subprocess.Popen[bytes], grace_s: float = TERMINATE_GRACE_S) -> None:
    """End a process started with `start_new_session=True` and everything it started.

    SIGTERM first (after SIGCONT, so that a paused group can act on it), SIGKILL after `grace_s` seconds.
    """
    members = _members(process)
    for signal_number in (signal.SIGCONT, signal.SIGTERM):
        _signal_group(process.pid, signal_number)
    with suppress(subprocess.TimeoutExpired):
        process.wait(grace_s)
    _wait_gone(members, 1.0)
    _signal_group(process.pid, signal.SIGKILL)
    for member in members:
        with suppress(psutil.NoSuchProcess):
            member.kill()
    process.wait()
    _wait_gone(members, 5.0)


def _wait_gone(members: list[psutil.Process], limit_s: float) -> None:
    """Wait until none runs. An orphan that has ended may stay a zombie until init gets round to it."""
    wait_until(lambda: not any(map(_runs, members)), limit_s, interval_s=0.02)


def _runs(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def _members(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(process.pid).children(recursive=True)
    return []


def _signal_group(group: int, signal_number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal_number)


def tree_memory_bytes(pid: int) -> int | None:
    """Return the proportional set size of a process and all its descendants; None if it is gone.

    PSS shares each shared page among its users, so adding processes up counts no page twice.
    """
    try:
        root = psutil.Process(pid)
        members = [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return None
    total = 0
    for member in members:
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            total += member.memory_full_info().pss
    return total or None


def free_ports(count: int, host: str = "127.0.0.1") -> list[int]:
    """Find `count` different TCP ports that nothing listens on at `host` right now.

    They are none of those that the kernel gives to outgoing connections, which are many while a server is
    loaded: one of them would have the port before a server that takes seconds to start listens on it. Nor
    are they ports that were found lately: all servers of a block are planned before the first one starts.

    Raises:
        OSError: `host` is no address of this machine.
    """
    ports, lately = _ports_of_nobody(), dict.fromkeys(_lately)
    fresh = [port for port in ports if port not in lately]
    drawn = random.SystemRandom().sample(fresh, min(len(fresh), PORT_TRIES))
    candidates = iter([*drawn, *(port for port in lately if port in ports)])
    with ExitStack() as held:
        found = [port_of(held.enter_context(_bound(host, candidates, lately))) for _ in range(count)]
    _lately.extend(found)
    return found


def _bound(host: str, candidates: Iterator[int], lately: Collection[int]) -> socket.socket:
    """Bind the first of `candidates` that is free; where they end the kernel chooses one, not of `lately`."""
    for port in candidates:
        try:
            return bound_socket(host, port)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
    for _ in range(PORT_TRIES):
        chosen = bound_socket(host, 0)
        if port_of(chosen) not in lately:
            return chosen
        chosen.close()
    return bound_socket(host, 0)


def _ports_of_nobody() -> range:
    """Return ports that neither well-known services, outgoing connections nor Kubernetes' services have."""
    try:
        first_outgoing = int(OUTGOING_PORTS.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return range(0)
    return range(FIRST_PORT, min(first_outgoing, KUBERNETES_PORT))


def port_holder(port: int, host: str = "127.0.0.1") -> str | None:
    """Return None if `port` can be bound; otherwise who holds it, as far as this user may see.

    Raises:
        OSError: it cannot be bound for another reason, such as an address that is not this machine's.
    """
    try:
        bound_socket(host, port).close()
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return _holder_name(port) or "a process of another user"
        raise
    return None


def _holder_name(port: int) -> str | None:
    with suppress(psutil.AccessDenied):
        for connection in psutil.net_connections("tcp"):
            listening = connection.status == psutil.CONN_LISTEN and connection.laddr
            if listening and tuple(connection.laddr)[1] == port and connection.pid:
                with suppress(psutil.NoSuchProcess):
                    return f"{psutil.Process(connection.pid).name()}, pid {connection.pid}"
    return None


def oom_kills() -> int:
    """Count the processes the kernel has killed for want of memory since it started; 0 if unknown."""
    with suppress(OSError):
        for line in Path("/proc/vmstat").read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0


OOM_KILLS_BEFORE = oom_kills()


def how_it_ended(code: int | None) -> str:
    """Describe a Python exit code; for a process that was killed, with the likely reason."""
    if code is None or code >= 0:
        return f"exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"exit code {code}, {name}{_why_killed() if -code == signal.SIGKILL else ''}"


def _why_killed() -> str:
    count = oom_kills() - OOM_KILLS_BEFORE
    if count:
        return f": out of memory, for want of which the kernel has killed {count} processes since we started"
    return ": somebody killed it, or a limit of memory did"


def last_lines(path: Path, count: int = 5) -> str:
    """Return the last telling lines of a log, joined by " | ", with what may be behind them; "" if none."""
    lines = [line.strip() for line in read_end(path).splitlines() if line.strip()]
    lines = [line for line in lines if not NOT_TELLING.match(line)]
    return " | ".join(filter(None, (*lines[-count:], full_disk(path.parent), few_descriptors())))


def few_descriptors() -> str:
    """Say that few files may be open at once, where that is so; "" where it is not.

    Java and the frameworks report the want of a descriptor as a class, a library or a socket that fails.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY or limit >= FEW_DESCRIPTORS:
        return ""
    return f"only {limit} files may be open at once here, which may be the cause: raise `ulimit -n`"


def wait_until(ready: Callable[[], bool], limit_s: float, interval_s: float = 0.1) -> bool:
    """Poll `ready` until it is true (True) or `limit_s` seconds have passed (False)."""
    deadline = time.monotonic() + limit_s
    while not ready():
        if time.monotonic() > deadline:
            return False
        time.sleep(interval_s)
    return True

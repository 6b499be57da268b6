"""A server as a local process tree: started, paused, resumed and ended together with all it starts."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import psutil

from pipelines.artifacts.private_copy import copy_proven
from pipelines.errors import MachineError
from pipelines.files.atomic import disk_error
from pipelines.files.log_ends import NewLines
from pipelines.processes.children import child_environment
from pipelines.processes.group import (
    before_exec,
    end_group,
    how_it_ended,
    interrupts_held,
    last_lines,
    tree_memory_bytes,
)
from pipelines.runners.docker_start import StartedServer
from pipelines.targets.server_plan import ServeRequest, ServerPlan, plan_server


class LocalServer(StartedServer):
    """A process group of its own; `started` is monotonic seconds at process start."""

    def __init__(self, plan: ServerPlan) -> None:
        self.plan = plan
        self._process: subprocess.Popen[bytes] | None = None
        self._tree: list[psutil.Process] = []
        self._log = NewLines(plan.launch.log)

    def start(self) -> None:
        """Start the process group; returns at once.

        Raises:
            MachineError: the program cannot be started.
        """
        launch = self.plan.launch
        try:
            log = launch.log.open("ab")
        except OSError as error:
            raise disk_error(launch.log, error) from error
        with log, interrupts_held():
            self.started = time.monotonic()
            try:
                self._process = subprocess.Popen(
                    launch.argv,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    cwd=launch.cwd,
                    env=child_environment(launch.env),
                    start_new_session=True,
                    preexec_fn=before_exec(launch.cores),  # noqa: PLW1509 - two system calls, no locks
                )
            except OSError as error:
                raise MachineError(f"cannot start {launch.argv[0]}: {error.strerror}") from error
            except subprocess.SubprocessError as error:
                raise MachineError(
                    f"cannot start {self.plan.target} on the cores {launch.cores}; allowed: "
                    f"{sorted(os.sched_getaffinity(0))}"
                ) from error

    def _watch(self) -> None:
        super()._watch()
        self._require_no_failure()

    def _watch_unready(self) -> None:
        """Do nothing: the log was read a moment ago."""

    def _last_lines(self) -> str:
        return last_lines(self.plan.launch.log)

    def _recent_log(self) -> str:
        return self._log.read()

    @property
    def alive(self) -> bool:
        """Whether the started process still runs."""
        return self._process is not None and self._process.poll() is None

    def require_alive(self, when: str) -> None:
        """Raise MachineError if the server has ended, with its exit code and last log lines."""
        if not self.alive:
            code = self._process.returncode if self._process else None
            raise MachineError(
                f"{self.plan.target} died {when} ({how_it_ended(code)}); "
                f"its last log lines: {last_lines(self.plan.launch.log) or 'none'}"
            )

    @property
    def pid(self) -> int:
        """Process id of the started process, which is also its process group."""
        if self._process is None:
            raise RuntimeError("the server was not started")
        return self._process.pid

    def pause(self) -> None:
        """Stop the whole process group from running (SIGSTOP)."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused process group run again; what it consists of is looked up before it is measured."""
        self._tree = process_tree(self.pid)
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        if self.alive:
            os.killpg(self.pid, number)

    def memory_bytes(self) -> int | None:
        """Return the proportional set size of the process tree; None if it is gone."""
        return tree_memory_bytes(self.pid) if self.alive else None

    def peak_bytes(self) -> int | None:
        """Return None: the kernel keeps no peak of a process tree's proportional set size."""
        return None

    def cpu_s(self) -> float:
        """Return the CPU seconds of the processes of the tree, as it was when the server was last resumed.

        Looking for the tree reads every process of the machine, which would take time of a measured window.
        """
        self._tree = self._tree or process_tree(self.pid)
        return sum(map(process_cpu_s, self._tree))

    def stop(self) -> None:
        """End the process group; harmless if it has ended."""
        if self._process is not None:
            end_group(self._process)


def process_tree(pid: int) -> list[psutil.Process]:
    """Return a process and all its descendants; empty if it is gone."""
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def process_cpu_s(process: psutil.Process) -> float:
    """Return the CPU seconds a process has used so far; 0.0 if it is gone."""
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return times.user + times.system


def _privately(request: ServeRequest) -> ServeRequest:
    """Return the request with its own copy of the verified files."""
    if request.proven is None:
        return request
    return replace(request, folder=copy_proven(request.folder, request.proven, request.work / "served"))


@dataclass(frozen=True)
class LocalRunner:
    """Servers as processes of this machine.

    Attributes:
        reason: why they are, where it was not simply asked for; recorded with each implementation.
    """

    reason: str | None = None
    name: str = "local"

    @contextmanager
    def prepare(self, target: str, request: ServeRequest) -> Iterator[LocalServer]:
        """Plan the server that the target describes, ready to be started.

        Raises:
            RequestError: the target has no server, or a setting is wrong.
            GateError: a file changed after it was verified.
            MachineError: something it needs is missing.
        """
        plan = plan_server(target, _privately(request))
        notes = "; ".join(filter(None, (plan.implementation.note, self.reason)))
        implementation = plan.implementation.model_copy(update={"note": notes or None})
        yield LocalServer(replace(plan, implementation=implementation))

"""The load generator as a process of its own: started, given rounds, listened to, told to stop, ended."""

import json
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from loadtests.plan import RoundPlan
from loadtests.prefork import Order
from loadtests.reports import Report, read_report
from loadtests.result import RoundResult
from pipelines.errors import MachineError
from pipelines.processes.children import child_environment, python_module
from pipelines.processes.group import before_exec, end_group, how_it_ended, interrupts_held, last_lines
from pipelines.runners.server import Server

# Beyond warm-up, window and timeout: interpreter and Locust start-up, and writing the samples.
START_AND_FINISH_S = 30.0
READ_BYTES = 65536

Process = subprocess.Popen[bytes]
Listen = Callable[[Report, int], bool]
"""Is told what the generator reports, with its process id; returns whether the round shall end now."""


class Generator:
    """The load generator: a process that is ready for rounds, started with the first and ended at the exit.

    For one round after another, not for several at a time.
    """

    def __init__(self) -> None:
        self._process: Process | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def run(
        self,
        plan: RoundPlan,
        folder: Path,
        listen: Listen,
        private_headers: Mapping[str, str] | None = None,
    ) -> tuple[RoundResult, bool]:
        """Carry out a round in a process of its own; return its result, and whether the user asked to stop.

        `private_headers` go to it through a pipe, so that they are in no file and no process list.

        Raises:
            MachineError: it failed, or left no result.
            KeyboardInterrupt: the user asked to stop before there was one.
        """
        log, plan_file = folder / "generator.log", folder / "plan.json"
        plan.save(plan_file)
        order = Order(str(plan_file), str(log), dict(private_headers or {}))
        end_s = plan.timeout_s + START_AND_FINISH_S
        try:
            code, stopped = self._carry_out(
                order, listen, plan.longest_warmup_s, plan.duration_s + end_s, end_s
            )
        except BaseException:
            self._end()
            raise
        if plan.result_file.is_file():
            return RoundResult.load(plan.result_file), stopped
        if stopped:
            raise KeyboardInterrupt
        raise MachineError(
            f"the load generator failed ({how_it_ended(code)}); its last lines: {last_lines(log) or 'none'}"
        )

    def _carry_out(
        self, order: Order, listen: Listen, warmup_s: float, window_s: float, patience_s: float
    ) -> tuple[int | None, bool]:
        """Hand on every report until the round ends; return its exit code and whether we were interrupted.

        A warm-up may take `warmup_s`, what follows it `window_s`, the end `patience_s` once it is asked for.
        """
        process = self._ready(Path(order.log_file))
        began_s = time.monotonic()
        reports = _Reports(process, began_s + warmup_s + window_s, window_s)
        try:
            _give(process, order)
            return self._ended(reports.follow(listen)), False
        except KeyboardInterrupt:
            # The round keeps what it measured when it is told to stop; that is worth the wait.
            _interrupt(process)
            reports.deadline = time.monotonic() + patience_s
            with suppress(KeyboardInterrupt, subprocess.TimeoutExpired):
                return self._ended(reports.follow(_nobody_listens)), True
            self._end()
            return None, True
        except subprocess.TimeoutExpired:
            words = last_lines(Path(order.log_file))
            waited_s = time.monotonic() - began_s
            raise MachineError(
                f"the load generator did not finish in time, after {waited_s:.0f} s: {words}"
            ) from None

    def _ended(self, code: int | None) -> int | None:
        """Return the exit code; the process's own where it ended without one, and then it is cleared away."""
        if code is not None:
            return code
        process = self._process
        self._end()
        return None if process is None else process.returncode

    def _ready(self, log: Path) -> Process:
        """Return the process, started if it is not there; until its first order it writes to `log`."""
        if self._process is None:
            with log.open("wb") as stderr, interrupts_held():
                self._process = subprocess.Popen(
                    python_module("loadtests.prefork"),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=stderr,
                    env=child_environment(),
                    start_new_session=True,
                    preexec_fn=before_exec(),  # noqa: PLW1509 - system calls, no locks
                )
        return self._process

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        end_group(process)
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None  # noqa: S101 - both are pipes
            with suppress(BrokenPipeError):
                pipe.close()


def generate(
    plan: RoundPlan, folder: Path, listen: Listen, private_headers: Mapping[str, str] | None = None
) -> tuple[RoundResult, bool]:
    """Carry out one round with a generator that is there for it alone; see `Generator.run`."""
    with Generator() as generator:
        return generator.run(plan, folder, listen, private_headers)


def of_running(server: Server, max_rate_per_s: float | None) -> dict[str, Any]:
    """Return what a round's plan needs for a running endpoint; nothing for a server of ours."""
    access = server.plan.endpoint.access
    if access is None:
        return {}
    return {
        "ca_file": "" if access.ca_file is None else str(access.ca_file.absolute()),
        "insecure": access.insecure,
        "private_headers": bool(access.headers),
        "max_rate_per_s": max_rate_per_s or 0.0,
    }


def private_headers(server: Server) -> Mapping[str, str] | None:
    """Return the headers that only the generator may see; None if there are none."""
    access = server.plan.endpoint.access
    return access.headers if access is not None else None


def _give(process: Process, order: Order) -> None:
    assert process.stdin is not None  # noqa: S101 - it is a pipe
    # Where it has ended already, its exit code and its log say why.
    with suppress(BrokenPipeError):
        process.stdin.write(order.line())
        process.stdin.flush()


def _interrupt(process: Process) -> None:
    """Tell the round to stop. The process that it was forked from holds this signal back."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGINT)


def _nobody_listens(_report: Report, _pid: int) -> bool:
    return False


@dataclass
class _Reports:
    """What the generator writes on stdout, until `deadline` by the monotonic clock.

    Once the window has opened, no more than `window_s` are waited for.
    """

    process: Process
    deadline: float
    window_s: float
    _round_pid: int = 0
    _rest: bytes = b""

    def follow(self, listen: Listen) -> int | None:
        """Hand on every report until the round ends; return its exit code, None if all of it is gone.

        Raises:
            subprocess.TimeoutExpired: the deadline passes.
        """
        for line in self._lines():
            report = read_report(line)
            if report is not None:
                if report.kind == "opened":
                    self.deadline = min(self.deadline, time.monotonic() + self.window_s)
                if listen(report, self._round_pid):
                    _interrupt(self.process)
                continue
            values = _object(line)
            if values.get("kind") == "forked":
                self._round_pid = values["pid"]
            elif values.get("kind") == "ended":
                return int(values["code"])
        return None

    def _lines(self) -> Iterator[str]:
        assert self.process.stdout is not None  # noqa: S101 - it is a pipe
        pipe = self.process.stdout.fileno()
        with selectors.DefaultSelector() as selector:
            selector.register(pipe, selectors.EVENT_READ)
            while selector.select(max(0.0, self.deadline - time.monotonic())):
                received = os.read(pipe, READ_BYTES)
                if not received:
                    return
                *lines, self._rest = (self._rest + received).split(b"\n")
                for line in lines:
                    yield line.decode(errors="replace")
        raise subprocess.TimeoutExpired(self.process.args, self.deadline)


def _object(line: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}

"""The load generator as a process of its own: started, listened to, told to stop, ended."""

import json
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from loadtests.plan import RoundPlan
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


def generate(
    plan: RoundPlan, folder: Path, listen: Listen, private_headers: Mapping[str, str] | None = None
) -> tuple[RoundResult, bool]:
    """Run the load generator in a process of its own; its result, and whether somebody asked us to stop.

    `private_headers` go to it through a pipe, so that they are in no file and no process list.

    Raises:
        MachineError: it failed, or left no result.
        KeyboardInterrupt: somebody asked to stop before there was one.
    """
    plan_file, log = folder / "plan.json", folder / "generator.log"
    plan.save(plan_file)
    limit_s = plan.warmup_limit_s + plan.duration_s + plan.timeout_s + START_AND_FINISH_S
    with _started(plan_file, log, private_headers) as process:
        try:
            stopped = _follow(process, listen, limit_s)
        except KeyboardInterrupt:
            # The generator keeps what it measured when it is told to stop; that is worth the wait.
            process.send_signal(signal.SIGINT)
            stopped = True
            _wait_briefly(process, plan.timeout_s + START_AND_FINISH_S)
        except subprocess.TimeoutExpired:
            raise MachineError(
                f"the load generator did not finish within {limit_s:.0f} s: {last_lines(log)}"
            ) from None
    if plan.result_file.is_file():
        return RoundResult.load(plan.result_file), stopped
    if stopped:
        raise KeyboardInterrupt
    raise MachineError(
        f"the load generator failed ({how_it_ended(process.returncode)}); its last lines: "
        f"{last_lines(log) or 'none'}"
    )


def of_running(server: Server, max_rate_per_s: float | None) -> dict[str, Any]:
    """What a round's plan says of a server that somebody else runs; nothing for one of ours."""
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
    """The headers that only the generator may see; None where there are none."""
    access = server.plan.endpoint.access
    return access.headers if access is not None else None


@contextmanager
def _started(plan_file: Path, log: Path, private_headers: Mapping[str, str] | None) -> Iterator[Process]:
    with log.open("wb") as stderr, interrupts_held():
        process = subprocess.Popen(
            python_module("loadtests.generator", str(plan_file)),
            stdin=subprocess.PIPE if private_headers else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env=child_environment(),
            start_new_session=True,
            preexec_fn=before_exec(),  # noqa: PLW1509 - system calls, no locks
        )
    try:
        if process.stdin is not None:
            with suppress(BrokenPipeError), process.stdin as pipe:
                pipe.write(json.dumps(dict(private_headers or {})).encode())
        yield process
    finally:
        end_group(process)
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        process.stdout.close()


def _follow(process: Process, listen: Listen, limit_s: float) -> bool:
    """Hand on every report until the generator ends; False: nobody but `listen` asked to stop.

    Raises:
        subprocess.TimeoutExpired: it takes longer than `limit_s` seconds.
    """
    deadline = time.monotonic() + limit_s
    for line in _lines(process, deadline):
        report = read_report(line)
        if report is not None and listen(report, process.pid):
            process.send_signal(signal.SIGINT)
    process.wait(max(0.0, deadline - time.monotonic()))
    return False


def _lines(process: Process, deadline: float) -> Iterator[str]:
    """Yield the lines of its stdout as they come, until it is closed."""
    assert process.stdout is not None  # noqa: S101 - it is a pipe
    pipe, rest = process.stdout.fileno(), b""
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while selector.select(max(0.0, deadline - time.monotonic())):
            received = process.stdout.read1(READ_BYTES)  # type: ignore[attr-defined] # it is buffered
            if not received:
                return
            *lines, rest = (rest + received).split(b"\n")
            yield from (line.decode(errors="replace") for line in lines)
    raise subprocess.TimeoutExpired(process.args, deadline)


def _wait_briefly(process: Process, limit_s: float) -> None:
    try:
        # Its reports are not read any more, but there are too few left to fill the pipe.
        process.wait(limit_s)
    except (KeyboardInterrupt, subprocess.TimeoutExpired):
        return

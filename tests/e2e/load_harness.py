"""Starts servers and generators for the tests of this folder, and reads what both of them say happened."""

import atexit
import contextlib
import csv
import functools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ParamSpec

import numpy as np
import psutil

from loadtests.payloads import CheckedOutput, PayloadPool
from loadtests.plan import RoundPlan
from loadtests.recorder import Samples, read_samples
from loadtests.result import RoundResult
from pipelines.measure.generator import Generator

ROOT = Path(__file__).resolve().parents[2]
CORES = sorted(os.sched_getaffinity(0))
GENERATOR_CORE = int(os.environ.get("TANDEM_GENERATOR_CORE", CORES[-1]))
SERVER_CORE = CORES[0] if CORES[0] != GENERATOR_CORE else CORES[-1]
PATIENCE_S = 60
TRIES = 3
GENERATOR = Generator()
atexit.register(GENERATOR.__exit__)
P = ParamSpec("P")


@dataclass(frozen=True)
class ServerSays:
    """The server's own log: one element per request it answered."""

    taken_ns: list[int]
    kinds: list[str]


@dataclass
class Noise:
    """What other processes did while a server was measured."""

    cores: float = 0.0


@dataclass
class Server:
    """A running server with known delays."""

    process: subprocess.Popen[str]
    url: str
    log_file: Path

    def stop(self) -> ServerSays:
        """Stop it and read what it did."""
        self.process.terminate()
        self.process.wait(PATIENCE_S)
        with self.log_file.open(newline="") as file:
            rows = list(csv.DictReader(file))
        taken = [int(row["answered_ns"]) - int(row["received_ns"]) for row in rows]
        return ServerSays(taken, [row["kind"] for row in rows])


def several_tries(test: Callable[P, None]) -> Callable[P, None]:
    """Repeat a failed test that measures time: neighbours spoil a try or two, wrong code fails every one."""

    @functools.wraps(test)
    def tried(*args: P.args, **kwargs: P.kwargs) -> None:
        for _ in range(TRIES - 1):
            try:
                return test(*args, **kwargs)
            except AssertionError as error:
                print(f"tried again after: {error}")  # noqa: T201 - shown if the last try fails too
        return test(*args, **kwargs)

    return tried


def on_server_core(module: str, *options: str) -> list[str]:
    """The command of a server that no ordinary process delays, where we may ask for that."""
    first = ["nice", "-n", "-20"] if os.geteuid() == 0 else []
    return [*first, "taskset", "-c", str(SERVER_CORE), sys.executable, "-m", module, *options]


def _url(process: "subprocess.Popen[str]") -> str:
    """Where a server that has just started says it listens."""
    assert process.stdout is not None
    return f"http://127.0.0.1:{json.loads(process.stdout.readline())['port']}"


@contextlib.contextmanager
def known_delay_server(folder: Path, *options: str) -> Iterator[Server]:
    log_file = folder / "server.csv"
    command = on_server_core("loadtests.servers.known_delay", "--log-file", str(log_file), *options)
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Server(process, _url(process), log_file)
        finally:
            process.kill()


@contextlib.contextmanager
def null_server() -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run a server that answers at once; yield its process and its URL."""
    command = on_server_core("loadtests.servers.null")
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process, _url(process)
        finally:
            process.kill()


def make_plan(folder: Path, url: str, *, transport: str = "http", **changes: Any) -> RoundPlan:
    headers = {"Content-Type": "application/json"} if transport == "http" else {}
    bodies = tuple(b'{"instances":[[%d.0]]}' % number for number in range(8))
    outputs = (CheckedOutput("scores", 1e-4, 0.0, classes=True),)
    expected = ({"scores": np.array([0.1, 0.7, 0.2])},)
    pool = PayloadPool("POST", "/predict", headers, bodies, expected, outputs, transport=transport)
    pool.save(folder / "pool.zip")
    settings: dict[str, Any] = {
        "url_base": url,
        "load": "closed:4",
        "warmup_limit_s": 0.5,
        "duration_s": 2.0,
        "pool_file": folder / "pool.zip",
        "samples_file": folder / "round.parquet",
        "result_file": folder / "result.json",
        "check_share": 1.0,
        "seed": 1,
        "timeout_s": 5.0,
        "cores": (GENERATOR_CORE,),
    }
    return RoundPlan(**settings | changes)


def generator_command(plan: RoundPlan) -> list[str]:
    file = plan.result_file.with_name("plan.json")
    plan.save(file)
    return [sys.executable, "-m", "loadtests.generator", str(file)]


def start(plan: RoundPlan) -> subprocess.Popen[str]:
    command = generator_command(plan)
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Wait for a generator; return its exit code and what it said on stderr."""
    try:
        _, said = process.communicate(timeout=PATIENCE_S)
    finally:
        process.kill()
    return process.returncode, said


@contextlib.contextmanager
def listening_for_noise(process: subprocess.Popen[str]) -> Iterator[Noise]:
    """Note how much of the machine others take while the server `process` is measured."""
    noise = Noise()
    before, began_s = _foreign_cpu_s(process), time.monotonic()
    yield noise
    noise.cores = (_foreign_cpu_s(process) - before) / (time.monotonic() - began_s)


def _foreign_cpu_s(server: subprocess.Popen[str]) -> float:
    """Processor seconds used on this machine by anything but the server, this test and its generators."""
    machine, own = psutil.cpu_times(), psutil.Process().cpu_times()
    generators = [one.cpu_times() for one in psutil.Process().children() if _is_generator(one)]
    sent_s = sum(t.user + t.system + t.children_user + t.children_system for t in generators)
    served = psutil.Process(server.pid).cpu_times()
    busy_s = sum(machine) - machine.idle - machine.iowait - machine.guest - machine.guest_nice
    own_s = own.user + own.system + own.children_user + own.children_system
    return busy_s - own_s - sent_s - served.user - served.system


def _is_generator(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return "loadtests.prefork" in process.cmdline()
    return False


def run(plan: RoundPlan) -> tuple[RoundResult, Samples]:
    """Run a round to its end, as a comparison does; it must succeed without a word."""
    folder = plan.result_file.parent
    result, stopped = GENERATOR.run(plan, folder, lambda _report, _pid: False)
    assert not stopped
    assert (folder / "generator.log").read_text() == ""
    return result, read_samples(plan.samples_file)

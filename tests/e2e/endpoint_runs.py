"""Commands about servers given by their address, of the tiny model in a folder of its own."""

import json
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import tiny_models
from load_harness import ROOT
from main_job import HASTE, changed, tandem

from loadtests.recorder import Samples, read_samples
from pipelines.processes.group import free_ports, wait_until

HASTY = changed(HASTE)
SHORT = ("--profile", "smoke", "--rounds", "1", "--round-s", "1")
MACHINE = {"quiet", "warm", "generator", "lateness", "delivered"}
"""Checks of a round that a busy machine fails, whoever serves."""


SAMPLES_COUNT = 40
FEW = f"""
def samples():
    return Samples(INPUTS[:{SAMPLES_COUNT}], CLASSES[:{SAMPLES_COUNT}].astype(np.int64))
"""
"""Every one of them is asked about over a connection of its own, before any load."""


def place(folder: Path) -> Path:
    """The folder, with the tiny model and few samples in it."""
    tiny_models.write(folder, "tiny", FEW)
    return folder


def compare(
    place: Path, runs: Path, sides: str, *options: str, program: Sequence[str] = HASTY
) -> subprocess.CompletedProcess[str]:
    """A comparison of these sides in haste, its run in `runs`."""
    given = ("--sides", sides, *SHORT, "--runs", str(runs), *options)
    return tandem("compare", "tiny.py", *given, cwd=place, program=program)


def latest(runs: Path) -> Any:
    """The newest run's record."""
    return json.loads((runs / "latest" / "run.json").read_text())


def only_round(run: Any, side: str) -> Any:
    """The one measured round of a side."""
    (measured,) = run["targets"][side]["rounds"]
    return measured


def samples_of(runs: Path, measured: Any) -> Samples:
    """Every request of a round."""
    return read_samples(runs / "latest" / measured["samples_file"])


def codes(measured: Any) -> set[str]:
    """Why a round is invalid."""
    return {one["code"] for one in measured["invalid_reasons"]}


@contextmanager
def faulty(upstream: int, *faults: str) -> Iterator[int]:
    """A proxy with faults in front of a server that runs; yields its port."""
    (port,) = free_ports(1, "127.0.0.1")
    command = [sys.executable, "-m", "loadtests.servers.faulty", f"--port={port}", f"--upstream={upstream}"]
    with subprocess.Popen([*command, *faults], cwd=ROOT) as process:
        try:
            assert wait_until(lambda: _listens(port), limit_s=30)
            yield port
        finally:
            process.terminate()
            assert process.wait(30) == 0


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 5):
        return True
    return False

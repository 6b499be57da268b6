"""Runs `tandem` the way a person does, and looks at what it leaves behind."""

import io
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

import psutil
import pytest

from pipelines.cli.main import main

TANDEM = (sys.executable, "-m", "pipelines.cli.main")
TIMED_S = 0.25


def changed(*statements: str) -> tuple[str, ...]:
    """`tandem` with something in it that is not as usual: `statements` are run before it."""
    return (sys.executable, "-c", "\n".join((*statements, "from pipelines.cli.main import main", "main()")))


HASTE = """
from pipelines.config.profiles import PROFILES
PROFILES["smoke"] = PROFILES["smoke"].model_copy(update={"warmup_limit_s": 0, "retries": 0})
"""
"""A smoke comparison warms nothing up and measures no round again: for tests that are not about figures."""
HASTY = changed(HASTE)
HURRIED = changed(
    "from pipelines.mobile.timing import TimingRules",
    f"TimingRules.__init__.__defaults__ = (0.1, 50, {TIMED_S}, 130, 10.0, 1_000_000)",
)
"""`tandem` that times an artifact for devices for so long, a quarter of what it takes otherwise."""
PATIENCE_S = 240
TOY_SERVER = "toy_target/app.py"
OURS = (
    *("org.pytorch.serve.ModelServer", "model_service_worker"),
    *("tfserving.embedded", TOY_SERVER, "loadtests.prefork"),
)


def tandem(*arguments: str, cwd: Path, program: Sequence[str] = TANDEM) -> subprocess.CompletedProcess[str]:
    """The finished command; its stderr holds progress and at most one line of complaint."""
    return subprocess.run(
        [*program, *arguments], cwd=cwd, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )


def answered(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """The same command in this process, a second earlier; for what is answered before any work."""
    out, err = io.StringIO(), io.StringIO()
    with chdir(cwd), redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as ended:
        main(arguments)
    code = ended.value.code
    assert isinstance(code, int)
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())


@contextmanager
def running(*arguments: str, cwd: Path, program: Sequence[str] = TANDEM) -> Iterator[subprocess.Popen[str]]:
    """The command while it runs, in a session of its own; killed at the end if it has not ended."""
    with subprocess.Popen(
        [*program, *arguments],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def complaint(stderr: str) -> str:
    """The one line that says what went wrong."""
    lines = [line for line in stderr.splitlines() if line.startswith("tandem: ")]
    assert len(lines) == 1, stderr
    assert "Traceback" not in stderr
    return lines[0]


def processes_of(folder: Path) -> list[str]:
    """Command lines of servers, workers and generators that run and have `folder` to do with."""
    found = []
    for process in psutil.process_iter():
        try:
            line = " ".join(process.cmdline())
            belongs = process.cwd() == str(folder) or str(folder) in line
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
        if belongs and process.pid != os.getpid() and any(name in line for name in OURS):
            found.append(line)
    return found


def folders_left(temporary: Path) -> list[Path]:
    """Folders of ours that are left in a temporary folder."""
    return sorted(temporary.glob("tandem-*"))

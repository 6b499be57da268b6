"""Locust, run again and again from one process that has imported it: each run is a fork, 2 s of CPU cheaper.

As a program it reads one JSON list of arguments and files a line on stdin, and answers with the exit code.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Locust:
    """The process that forks."""

    process: "subprocess.Popen[str]"

    def run(self, arguments: list[str], cwd: Path) -> "subprocess.CompletedProcess[str]":
        """Run `locust` with these arguments in this folder; it ends by itself."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        files = [cwd / "locust.stdout", cwd / "locust.stderr"]
        order = {"arguments": arguments, "cwd": str(cwd), "files": [str(file) for file in files]}
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        code = int(self.process.stdout.readline())
        out, err = (file.read_text() for file in files)
        return subprocess.CompletedProcess(arguments, code, out, err)


@contextmanager
def forking() -> Iterator[Locust]:
    """Start the process, and end it."""
    command = [sys.executable, "-P", __file__]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Locust(process)
        finally:
            process.kill()


def main() -> None:
    """Fork for every line."""
    fork, waitpid = os.fork, os.waitpid  # gevent replaces both
    import locust.main  # noqa: F401
    import numpy as np  # noqa: F401
    import pyarrow.parquet  # noqa: F401

    for line in sys.stdin:
        pid = fork()
        if pid == 0:
            os._exit(_carry_out(json.loads(line)))
        _, status = waitpid(pid, 0)
        os.write(1, f"{os.waitstatus_to_exitcode(status)}\n".encode())


def _carry_out(order: dict[str, object]) -> int:
    import gevent
    from locust.main import main as locust

    gevent.reinit()
    arguments, cwd, files = order["arguments"], order["cwd"], order["files"]
    assert isinstance(arguments, list)
    assert isinstance(cwd, str)
    assert isinstance(files, list)
    os.chdir(cwd)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, file in enumerate(files, start=1):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), number)
    sys.argv = ["locust", *arguments]
    code: object = 1
    try:
        locust()
        code = 0
    except SystemExit as end:
        code = end.code
    except BaseException:  # noqa: BLE001 - what an ordinary process would say at its end
        sys.excepthook(*sys.exc_info())
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    if isinstance(code, str):
        os.write(2, f"{code}\n".encode())
        return 1
    return code if isinstance(code, int) else 0


if __name__ == "__main__":
    main()

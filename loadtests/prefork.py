"""Carries out rounds one after another, each in a fork of its own: `python -m loadtests.prefork`.

A generator imports for more than a second before it can send anything, which rounds of some seconds and the
turns of a conditioning would pay every time. This process has imported all of it beforehand; a round still is
a process of its own, so that nothing of it stays for the next.

Reads one JSON object per line on stdin, an `Order`, and ends with its input. Writes JSON lines on stdout: a
round's reports (see `reports`) between `{"kind": "forked", "pid": …}` and `{"kind": "ended", "code": …}`,
which holds the exit code, or minus the number of the signal that ended the round.

SIGINT ends the round that is on its way, and is nothing to this process: both may be sent it as a group.
"""

import ctypes
import gc
import json
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from loadtests.generator import EXIT_PLAN, StopRequests, carry_out, leave_out_web_page

PR_SET_PDEATHSIG: Final = 1


@dataclass(frozen=True)
class Order:
    """One round to carry out.

    Attributes:
        plan_file: a `RoundPlan`.
        log_file: where the round says on stderr what went wrong.
        private_headers: what the round is to send beside its payloads' own headers, and to show nobody.
    """

    plan_file: str
    log_file: str
    private_headers: Mapping[str, str]

    def line(self) -> bytes:
        """Return the order as this process reads it."""
        return json.dumps(asdict(self)).encode() + b"\n"


def main() -> int:
    """Carry out every order until there are no more; return the exit code."""
    # Gevent replaces both with its own, which need its loop to run here.
    fork, waitpid = os.fork, os.waitpid
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    leave_out_web_page()
    import gevent  # type: ignore[import-untyped]

    import loadtests.one_round  # noqa: F401 - all that it needs is imported before the first fork

    gc.collect()
    gc.freeze()
    for line in sys.stdin:
        order = Order(**json.loads(line))
        _log_to(order.log_file)
        pid = fork()
        if pid == 0:
            prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
            gevent.reinit()
            os._exit(_carry_out(order))
        _say(kind="forked", pid=pid)
        _, status = waitpid(pid, 0)
        _say(kind="ended", code=os.waitstatus_to_exitcode(status))
    return 0


def _log_to(file: str) -> None:
    """Let this process and the round that follows write to `file` what goes wrong."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(descriptor, sys.stderr.fileno())
    os.close(descriptor)


def _carry_out(order: Order) -> int:
    """Carry out one order in the process that is there for it; return its exit code."""
    try:
        stop_requests = StopRequests()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        return carry_out(Path(order.plan_file), stop_requests, order.private_headers)
    except BaseException:  # noqa: BLE001 - the log says what an ordinary process would say at its end
        sys.excepthook(*sys.exc_info())
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


def _say(**values: Any) -> None:
    os.write(sys.stdout.fileno(), json.dumps(values).encode() + b"\n")


if __name__ == "__main__":
    sys.exit(main() if len(sys.argv) == 1 else EXIT_PLAN)

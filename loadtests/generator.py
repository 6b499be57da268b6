"""Runs one round in a process of its own: `python -m loadtests.generator PLAN.json`.

Exit code 0: the plan's result file is written, also when the round was interrupted or the server gone.
2: the plan cannot be carried out. 3: the requests could not be recorded. Errors are one line on stderr.

The first SIGINT or SIGTERM, or the end of the parent process, ends the round and keeps what was measured; the
second does not wait for the answers still due.
"""

import contextlib
import os
import resource
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from types import FrameType, ModuleType

from loadtests.arrivals import SPARE_FILES, Load
from loadtests.errors import LimitError, LoadTestError, RecorderError
from loadtests.plan import RoundPlan
from loadtests.private import read_headers

EXIT_PLAN = 2
EXIT_MACHINE = 3


class StopRequests:
    """Counts what asks the round to stop."""

    def __init__(self) -> None:
        self._signals_count = 0
        self._parent = os.getppid()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._note)

    def __call__(self) -> int:
        """Return how many times the round has been told to stop."""
        return self._signals_count + (os.getppid() != self._parent)

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        self._signals_count += 1


def main(arguments: list[str]) -> int:
    """Run the round that the one argument, a plan file, describes; return the exit code."""
    if len(arguments) != 1:
        return _fail("usage: python -m loadtests.generator PLAN.json", EXIT_PLAN)
    return carry_out(Path(arguments[0]), StopRequests())


def carry_out(
    plan_file: Path, stop_requests: StopRequests, private_headers: Mapping[str, str] | None = None
) -> int:
    """Run the round that `plan_file` describes and say on stderr what goes wrong; return the exit code.

    Args:
        plan_file: a saved `RoundPlan`.
        stop_requests: how often the round is told to stop.
        private_headers: those the plan speaks of; None to read them from stdin.
    """
    try:
        _run(RoundPlan.load_file(plan_file), stop_requests, private_headers)
    except (RecorderError, LimitError) as error:
        return _fail(str(error), EXIT_MACHINE)
    except LoadTestError as error:
        return _fail(str(error), EXIT_PLAN)
    except OSError as error:
        return _fail(f"cannot write the result: {error}", EXIT_MACHINE)
    return 0


def _run(
    plan: RoundPlan, stop_requests: StopRequests, private_headers: Mapping[str, str] | None = None
) -> None:
    # Before any import that starts threads, so that they stay on these cores too.
    alone = not plan.cores_shared and len(os.sched_getaffinity(0)) > len(plan.cores)
    core_is_ours = bool(plan.cores) and alone
    if plan.cores:
        os.sched_setaffinity(0, plan.cores)
    if core_is_ours:
        go_first()
    _allow_connections(plan.parsed_load)
    leave_out_web_page()
    headers = private_headers or {}
    if plan.private_headers and private_headers is None:
        headers = read_headers(sys.stdin)
    from loadtests.one_round import run_round

    result = run_round(plan, stop_requests, core_is_ours=core_is_ours, private_headers=headers)
    result.save(plan.result_file)


def go_first() -> None:
    """Let no other process of our cores delay a send or a reading of the clock, if we may ask for that.

    An ordinary process waits up to some milliseconds for its turn when something else runs on its core. Only
    for cores that the server does not use: there it would have to wait for us.
    """
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(os.sched_get_priority_min(os.SCHED_FIFO)))


def _allow_connections(load: Load) -> None:
    """Open as many files as may be, a connection each.

    Raises:
        LimitError: too few; a connection that we cannot open would be counted as the server's failure.
    """
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    needed = (1 if load.is_open else int(load.value)) + SPARE_FILES
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise LimitError(
            f"the load {load} needs {needed} open files and only {hard} are allowed; raise `ulimit -Hn`"
        )


def leave_out_web_page() -> None:
    """Put an empty module in the place of Locust's web page, which a round has no use for.

    With it go Flask and what Flask imports, a sixth of the processor time every round needs to start.
    """
    page = ModuleType("locust.web")
    vars(page)["WebUI"] = None
    sys.modules.setdefault(page.__name__, page)


def _fail(message: str, exit_code: int) -> int:
    sys.stderr.write(" ".join(message.split()) + "\n")
    return exit_code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

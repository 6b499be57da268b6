"""Run functions in processes of their own and get their results, also where /dev/shm is not writable.

A pool needs semaphores there, which some containers deny; a process with a pipe needs none.
"""

import multiprocessing
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any, TypeVar

Result = TypeVar("Result")


def run_apart(function: Callable[..., Result], tasks: Sequence[tuple[Any, ...]]) -> list[Result]:
    """Call `function` with every tuple of arguments, each in a fresh process, all at once.

    Args:
        function: of a module, and as picklable as what it takes and returns.

    Raises:
        EOFError: a process ended without a result; its own traceback is on standard error.
    """
    spawned = multiprocessing.get_context("spawn")
    started = []
    for arguments in tasks:
        ours, theirs = spawned.Pipe(duplex=False)
        process = spawned.Process(target=_send, args=(theirs, function, arguments))
        process.start()
        theirs.close()
        started.append((process, ours))
    try:
        return [ours.recv() for _, ours in started]
    finally:
        for process, _ in started:
            process.join()


def _send(theirs: Connection, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    theirs.send(function(*arguments))

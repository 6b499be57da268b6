"""Runs what a model file holds: whatever it prints or raises, output and exit code stay the command's own."""

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from typing import TypeVar

from models.errors import ModelError

Value = TypeVar("Value")
# One at a time: each puts back what it found.
_REDIRECTING = threading.RLock()


def run(what: str, function: Callable[[], Value]) -> Value:
    """Call a function of a model file's own, named by `what`, such as "test_samples of churn".

    What it prints goes to stderr, for stdout holds results that programs read.

    Raises:
        ModelError: it raised anything, or asked the process to exit; one line with the type.
    """
    try:
        with _stdout_is_stderr():
            return function()
    except (ModelError, KeyboardInterrupt, MemoryError):
        raise
    except BaseException as error:
        raise ModelError(f"{what}: {_told(error)}") from error


def _told(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # noqa: BLE001 - an error that cannot even be written
        return type(error).__name__


@contextmanager
def _stdout_is_stderr() -> Iterator[None]:
    """Lead descriptor 1 and `sys.stdout` to stderr: for Python, libraries and processes alike."""
    with _REDIRECTING:
        sys.stdout.flush()
        stdout_copy = os.dup(1)
        try:
            os.dup2(2, 1)
            with redirect_stdout(sys.stderr):
                yield
        finally:
            os.dup2(stdout_copy, 1)
            os.close(stdout_copy)

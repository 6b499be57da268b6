"""Errors a person can act on. `cli.main` prints the message on one line and exits with `exit_code`."""

import difflib
from collections.abc import Collection

PREAMBLES = ("Graph execution error:", "Detected at node ", "<stack traces unavailable>")
"""Lines that TensorFlow puts before the reason."""


class UserError(Exception):
    """Something the person who typed the command can fix; never shown with a traceback.

    The message says what happened, what was given, what is allowed and what to do next, on one line.
    """

    exit_code = 2


def first_line(error: BaseException) -> str:
    """Return the first line of an error that says something, or the kind of error where none does."""
    lines = (line.strip() for line in str(error).splitlines())
    return next((line for line in lines if line and not line.startswith(PREAMBLES)), type(error).__name__)


class RequestError(UserError):
    """The request was wrong: an unknown name, a file that does not fit, a setting out of range."""

    exit_code = 2


def unknown(
    what: str, name: str, allowed: Collection[str], *, where: str = "", or_else: str | None = None
) -> RequestError:
    """Return an error for a name that is not among `allowed`: the nearest of them, and all of them."""
    near = difflib.get_close_matches(name, allowed, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    choices = ", ".join(allowed) + (f", or {or_else}" if or_else else "")
    return RequestError(f"{where}unknown {what} {name!r}; {hint}allowed: {choices}")


class GateError(UserError):
    """A check failed: parity, smoke, a size limit or a regression limit."""

    exit_code = 1


class MachineError(UserError):
    """The environment or a server failed: a port is taken, a process died, the disk is full."""

    exit_code = 3


class ProcessDiedError(MachineError):
    """A process of ours ended without a result, or had to be ended."""

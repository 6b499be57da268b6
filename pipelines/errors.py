"""Errors a person can act on. `cli.main` prints the message on one line and exits with `exit_code`."""


class UserError(Exception):
    """Something the person who typed the command can fix; never shown with a traceback.

    The message says what happened, what was given, what is allowed and what to do next, on one line.
    """

    exit_code = 2


def first_line(error: BaseException) -> str:
    """Return the first line of an error that is not empty, or the kind of error where all are."""
    lines = (line.strip() for line in str(error).splitlines())
    return next(filter(None, lines), type(error).__name__)


class RequestError(UserError):
    """The request was wrong: an unknown name, a file that does not fit, a setting out of range."""

    exit_code = 2


class GateError(UserError):
    """A check failed: parity, smoke, a size limit or a regression limit."""

    exit_code = 1


class MachineError(UserError):
    """The environment or a server failed: a port is taken, a process died, the disk is full."""

    exit_code = 3

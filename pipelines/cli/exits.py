"""Maps what ended a command to its exit code and the one line that says so."""

import errno
from pathlib import Path

import click

from pipelines.console.printing import complain
from pipelines.errors import UserError

EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells have it
EXIT_GATE = 1
EXIT_REQUEST = 2
EXIT_MACHINE = 3
NOWHERE = "the working directory no longer exists; change to one that does"
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)


def explain(error: Exception) -> tuple[str, int]:
    """Return the line to print and the exit code."""
    from pipelines.files.atomic import where_it_is_full

    if isinstance(error, UserError):
        return str(error), error.exit_code
    if isinstance(error, click.ClickException):
        return _usage(error), EXIT_REQUEST
    if is_of_engine(error):
        from pipelines.runners.docker_trouble import ENGINE_GONE

        return ENGINE_GONE, EXIT_MACHINE
    if isinstance(error, OSError):
        # Of the two files of a copy, a full disk is where the second one is.
        name = error.filename2 if error.errno in DISK_FULL and error.filename2 else error.filename
        return f"{error.strerror or error}: {name or where_it_is_full()}", EXIT_MACHINE
    return str(error), EXIT_REQUEST


def is_of_engine(error: Exception) -> bool:
    """Return whether it comes from the libraries with which the container engine is asked, and nobody else.

    By their names: most commands need none of them.
    """
    return type(error).__module__.startswith(("requests.", "urllib3."))


def explain_load(error: MemoryError | ImportError | SystemError) -> str:
    """Say what could not be loaded; too little memory shows as any of these errors."""
    if isinstance(error, MemoryError):
        return (
            f"out of memory ({str(error) or 'there is no more'}); free some, or raise the limit (ulimit -v)"
        )
    return f"a library cannot be loaded: {error}; free memory, or run `make setup` if it is missing"


def explain_fault(error: Exception) -> str:
    """Name a fault of Tandem's own and the file that keeps its trace."""
    from pipelines.console.trace import keep_trace

    fault = f"{type(error).__name__}: {error}"
    return f"a fault of Tandem's own, {fault}; its trace is in {keep_trace(error)}"


def _usage(error: click.ClickException) -> str:
    context = getattr(error, "ctx", None)
    path = context.command_path if context else "tandem"
    return f"{error.format_message()} See `{path} --help`."


def fail(message: str, exit_code: int) -> int:
    """Print the message on one line of stderr and return the exit code."""
    if exit_code == EXIT_MACHINE and working_directory_is_gone():
        message = NOWHERE if message == NOWHERE else f"{NOWHERE} ({message})"
    complain(f"tandem: {' '.join(message.split())}")
    return exit_code


def working_directory_is_gone() -> bool:
    """Return whether it was removed, so that relative paths lead nowhere and libraries do not load."""
    try:
        Path.cwd()
    except FileNotFoundError:
        return True
    return False

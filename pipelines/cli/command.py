"""What a command is: its example, and the guard that ends whatever it started."""

from collections.abc import Callable
from typing import Any

import click


class _Guarded(click.Command):
    """A command that starts processes: all it starts is ended and removed, also if it is killed."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command beside a guard.

        Raises:
            MachineError: the working directory was removed.
        """
        from pipelines.cli.exits import NOWHERE, working_directory_is_gone
        from pipelines.errors import MachineError
        from pipelines.processes.guard import guarded

        if working_directory_is_gone():
            raise MachineError(NOWHERE)
        with guarded():
            return super().invoke(ctx)


def command(example: str, *, guarded: bool = True) -> Callable[[Callable[..., Any]], click.Command]:
    """Make a function a command whose help ends with `example`; unguarded where it starts no process."""
    return click.command(cls=_Guarded if guarded else click.Command, epilog=f"Example: {example}")

"""Prints what a command did, as JSON for programs or as tables for people, and gives its exit code."""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from pipelines.cli.exits import EXIT_INTERRUPTED, fail
from pipelines.console.printing import say


def print_json(value: Any) -> None:
    """Print a value as JSON for programs."""
    click.echo(json.dumps(value, indent=2))


def show_run(run: Any, folder: Path, as_json: bool) -> None:
    """Print a run: its record as JSON, or its tables and where its report is."""
    if as_json:
        print_json(json.loads(run.model_dump_json()))  # in ASCII, whatever stdout is
        return
    from pipelines.console.printing import result_console
    from pipelines.report.terminal import print_run

    print_run(run, result_console())
    say(f"\nReport: {folder / 'report.html'}")


def end_run(
    run: Any, folder: Path, as_json: bool, outputs: Sequence[Any] = (), tensorboard: Path | None = None
) -> int:
    """Show a finished run, write what --output and --tensorboard asked for, and return its exit code.

    Raises:
        MachineError: the disk refused an output.
    """
    show_run(run, folder, as_json)
    if outputs:
        from pipelines.outputs.asked import write_outputs
        from pipelines.outputs.of_run import facts_of_run

        write_outputs(outputs, facts_of_run(run))
    if tensorboard is not None:
        from pipelines.tensorboard.stage import write_board

        board = write_board(run, folder, tensorboard)
        if not as_json:
            say(f"TensorBoard: {board}")
    if run.status == "interrupted":
        return fail(f"{run.status_reason}; what was measured is kept in {folder}", EXIT_INTERRUPTED)
    return 0


def command_line() -> list[str]:
    """Give the command as it was typed, for the record, without the values of headers."""
    from pipelines.access import hidden

    # Arguments that are no UTF-8 are in no JSON file either.
    words = [os.fsencode(word).decode(errors="backslashreplace") for word in sys.argv[1:]]
    return ["tandem", *hidden(words)]

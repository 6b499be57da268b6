"""Prints what a command did, as JSON for programs or as tables for people, and gives its exit code."""

import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from pipelines.cli.exits import EXIT_INTERRUPTED, fail
from pipelines.console.printing import complain, say


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
        return _interrupted(run, folder)
    return 0


def _interrupted(run: Any, folder: Path) -> int:
    why = run.status_reason or "interrupted"
    return fail(f"{why}; what was measured is kept in {folder}", EXIT_INTERRUPTED)


@contextmanager
def failure_written(
    command: str, model: str, outputs: Sequence[Any], tensorboard: Path | None = None
) -> Iterator[None]:
    """Write what --output and --tensorboard asked for when the command fails too, and let the error go on.

    A pipeline shows those files whatever happened. A run that had begun is written as far as it came; of one
    that had not, there is its failure.
    """
    started_at_utc = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    try:
        yield
    except BaseException as error:
        if outputs or tensorboard:
            try:
                _write_failure(error, (command, model, started_at_utc), outputs, tensorboard)
            except Exception as second:  # noqa: BLE001 - the first failure is the one to end with
                complain(f"tandem: what was asked for with --output is not whole: {second}")
        raise


def _write_failure(
    error: BaseException, about: tuple[str, str, str], outputs: Sequence[Any], tensorboard: Path | None
) -> None:
    from pipelines.outputs.asked import write_outputs
    from pipelines.outputs.of_failure import facts_of_failure
    from pipelines.outputs.of_run import facts_of_run, figures_of_run
    from pipelines.run.failing import carried_by

    command, model, started_at_utc = about
    kept = carried_by(error)
    if kept is None:
        facts = facts_of_failure(command, Path(model).stem, _why(error), started_at_utc)
    elif kept.record.kind == command:
        facts = facts_of_run(kept.record)
    else:  # What a gate measures is a comparison, and what failed is the gate.
        run, where = kept.record, f"What was measured is kept in {kept.folder}"
        begun, figures = run.started_at_utc, tuple(figures_of_run(run))
        facts = facts_of_failure(command, run.model.name, _why(error), begun, figures, (where,))
    write_outputs(outputs, facts)
    if kept is not None and tensorboard is not None:
        from pipelines.tensorboard.stage import write_board

        write_board(kept.record, kept.folder, tensorboard)


def end_interrupted(error: KeyboardInterrupt) -> int:
    """Say where what was measured is kept, and return the exit code.

    Raises:
        KeyboardInterrupt: nothing had been measured.
    """
    from pipelines.run.failing import carried_by

    kept = carried_by(error)
    if kept is None:
        raise error
    return _interrupted(kept.record, kept.folder)


def _why(error: BaseException) -> str:
    from pipelines.tasks.failures import as_user_error

    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    known = as_user_error(error)
    return str(known) if known else f"{type(error).__name__}: {error}"


def command_line() -> list[str]:
    """Give the command as it was typed, for the record, without the values of headers."""
    from pipelines.access import hidden

    # Arguments that are no UTF-8 are in no JSON file either.
    words = [os.fsencode(word).decode(errors="backslashreplace") for word in sys.argv[1:]]
    return ["tandem", *hidden(words)]

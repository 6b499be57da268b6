"""What people see while a command works. Progress goes to stderr, results to stdout."""

import os
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Self

from pipelines.console.layout import fitted
from pipelines.console.text import one_line, visible

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live
    from rich.table import Table
    from rich.text import Text


LEAST_WIDTH = 40


def open_closed_streams() -> None:
    """Give this process the standard streams it was started without: nothing is read and nothing shown.

    Otherwise the first file it opened would take the place of a stream, and be written into.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free: this one
            os.set_inheritable(number, True)
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115 - for good


def flush_output() -> str | None:
    """Hand over what was printed; says what is wrong if it cannot be, and then it is dropped."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError) as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return f"the output could not be written: {getattr(error, 'strerror', None) or error}"
    return None


def complain(text: str) -> None:
    """Write a line to stderr, made visible; one that takes nothing any more changes nothing of what we do."""
    with suppress(OSError, ValueError):
        sys.stderr.write(f"{one_line(text)}\n")
        sys.stderr.flush()


def result_console() -> "Console":
    """Return where results go; on a terminal too narrow for a table, the terminal breaks its lines."""
    from rich.console import Console

    console = Console()
    return console if console.width >= LEAST_WIDTH else Console(width=LEAST_WIDTH)


def say(text: str) -> None:
    """Print lines of a result as they are: no markup, no breaks of ours, control characters made visible."""
    sys.stdout.write(f"{visible(text)}\n")
    # Through a pipe it would come when the command ends, and a server that stands does not.
    sys.stdout.flush()


def print_table(table: "Table", rows: Iterable[Sequence["str | Text"]]) -> None:
    """Print `table` with these rows, whose texts are no markup; control characters are made visible."""
    from rich.text import Text

    texts = [[cell if isinstance(cell, Text) else Text(visible(cell)) for cell in row] for row in rows]
    console = result_console()
    console.print(fitted(table, texts, console.width))


class ProgressDisplay:
    """Use as a context manager; call it with a title and what that part is doing now.

    On a terminal each title keeps one line that is renewed in place, with the seconds since it began;
    elsewhere every change is a line of its own.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._texts: dict[str, str] = {}
        self._started: dict[str, float] = {}
        self._live: Live | None = None

    def __enter__(self) -> Self:
        if not self._quiet and sys.stderr.isatty():
            from rich.console import Console
            from rich.live import Live

            self._live = Live(
                console=Console(stderr=True), get_renderable=self._table, refresh_per_second=4, transient=True
            )
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Show no more; what was shown on a terminal is cleared."""
        self._quiet = True
        if self._live is not None:
            self._live.stop()
            self._live = None

    def __call__(self, title: str, text: str) -> None:
        """Show `text` as what `title` is doing now."""
        self._texts[title] = text
        self._started.setdefault(title, time.monotonic())
        if not self._quiet and self._live is None:
            complain(f"{title}: {text}")

    def _table(self) -> "Table":
        from rich.table import Table
        from rich.text import Text

        table = Table.grid(padding=(0, 2))
        for title, text in self._texts.items():
            seconds = time.monotonic() - self._started[title]
            # Texts hold names and paths: square brackets in them are no markup.
            table.add_row(Text(one_line(title), style="bold"), f"{seconds:4.0f} s", Text(one_line(text)))
        return table

"""What people see while a command works. Progress goes to stderr, results to stdout."""

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from rich.live import Live
    from rich.table import Table


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
            sys.stderr.write(f"{title}: {text}\n")
            sys.stderr.flush()

    def _table(self) -> "Table":
        from rich.table import Table
        from rich.text import Text

        table = Table.grid(padding=(0, 2))
        for title, text in self._texts.items():
            seconds = time.monotonic() - self._started[title]
            # Texts hold names and paths: square brackets in them are no markup.
            table.add_row(Text(title, style="bold"), f"{seconds:4.0f} s", Text(text))
        return table

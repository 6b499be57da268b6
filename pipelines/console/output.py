"""Makes the terminal, or whatever reads our output, unable to fail a command that has done its work."""

import errno
import io
import os
import select
import sys
import warnings
from typing import TextIO

# Whoever read has gone, or the terminal has.
READER_GONE = frozenset({errno.EPIPE, errno.EIO})
# What a shell may ask of Python, and our help texts, names and files cannot do with.
REFUSED = frozenset({"PYTHONOPTIMIZE", "PYTHONWARNINGS", "PYTHONUTF8"})


def prepare() -> None:
    """Do what a program must do before it writes its first byte; starts this program again where needed."""
    _restart_where_needed()
    warnings.simplefilter("ignore")
    if sys.stdout is sys.__stdout__:
        sys.stdout = _tolerant(sys.stdout, 1)
    if sys.stderr is sys.__stderr__:
        sys.stderr = _tolerant(sys.stderr, 2)


def _restart_where_needed() -> None:
    """Restart Python unless names and files are UTF-8, which can only be set before it starts."""
    utf8 = sys.getfilesystemencoding() == "utf-8" and bool(sys.flags.utf8_mode or _locale_is_utf8())
    if "utf8" in sys._xoptions or (utf8 and not REFUSED & os.environ.keys()):
        return
    environment = {name: value for name, value in os.environ.items() if name not in REFUSED}
    environment.setdefault("PYTHONIOENCODING", getattr(sys.stdout, "encoding", "utf-8"))
    os.execve(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]], environment)  # noqa: S606


def _locale_is_utf8() -> bool:
    import locale

    return locale.getpreferredencoding(False).lower().replace("-", "") == "utf8"


def _tolerant(stream: TextIO | None, descriptor: int) -> TextIO:
    """Open a stream to the same place that writes what it can, as it can."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    raw = _TolerantFile(descriptor, "w", closefd=False)
    return io.TextIOWrapper(
        io.BufferedWriter(raw), encoding=encoding, errors="backslashreplace", line_buffering=raw.isatty()
    )


class _TolerantFile(io.FileIO):
    """Drops what nobody reads any more. Of other failures, such as a full disk, stdout says the first one."""

    _failed = False

    def write(self, data: object) -> int:
        """Write `data`, bytes; returns how many were taken."""
        try:
            while (count := super().write(data)) is None:  # type: ignore[arg-type]
                # The descriptor was left non-blocking by a program that shares it.
                select.select([], [self], [])
        except OSError as error:
            is_expected, self._failed = self._failed or error.errno in READER_GONE or self.fileno() != 1, True
            if is_expected:
                return memoryview(data).nbytes  # type: ignore[arg-type]
            raise OSError(error.errno, error.strerror, "the output") from error
        return count

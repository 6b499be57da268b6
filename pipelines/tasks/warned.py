"""What exporters warn of, as lines for people; without what only concerns us."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Old ways of calling a library are ours to mend, not the user's.
OURS = (DeprecationWarning, PendingDeprecationWarning, FutureWarning, ImportWarning, ResourceWarning)
# Texts that say nothing about the model: the converter's own interpreter, which only calibrates here, that a
# graph which only answers cannot be trained, and parts of torchao for GPUs.
KNOWN = (
    *("tf.lite.Interpreter is deprecated", "with ops with unsaved custom gradients"),
    *("torchao: Failed to load", "Detected no triton"),
)
LONGEST = 300


class Note(UserWarning):
    """What an exporter of ours says about its files; people read it without file and line."""


def note(text: str) -> None:
    """Warn about the files that are being written; a collector gathers it."""
    warnings.warn(text, Note, stacklevel=2)


class _Heard(logging.Handler):
    """Notes warnings that a library logs instead."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__(logging.WARNING)
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        """Note one line."""
        self._lines.append(_one_line(f"{record.name}: {record.getMessage()}"))


@contextmanager
def collected(lines: list[str]) -> Iterator[None]:
    """Add to `lines` what is warned of meanwhile, each once, with file and line; even if an error ends it."""
    heard: list[str] = []
    handler = _Heard(heard)
    loggers = [logging.getLogger(name) for name in (None, "tensorflow", "absl")]
    for logger in loggers:
        logger.addHandler(handler)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield
    finally:
        for logger in loggers:
            logger.removeHandler(handler)
        heard = [_line(warning) for warning in caught if not issubclass(warning.category, OURS)] + heard
        fresh = [line for line in dict.fromkeys(heard) if not any(harmless in line for harmless in KNOWN)]
        lines += [line for line in fresh if line not in lines]


def _line(warning: warnings.WarningMessage) -> str:
    if issubclass(warning.category, Note):
        return _one_line(str(warning.message))
    place = f"{Path(warning.filename).name}:{warning.lineno}"
    return _one_line(f"{place}: {warning.category.__name__}: {warning.message}")


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 1]}…"

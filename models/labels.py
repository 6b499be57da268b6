"""Checks of class names: they end up in labels.txt inside files for phones, one line per output column."""

import unicodedata
from collections.abc import Sequence

from models.errors import ModelError

# Categories of Unicode that end a line, steer a terminal, or are no characters: controls, surrogates,
# separators of lines and paragraphs, and what is not assigned.
FORBIDDEN = ("Cc", "Cs", "Zl", "Zp", "Cn")
LABELS_EXAMPLE = "labels=('cat', 'dog')"
BINARY_NAMES = 2


def require_labels(model: str, labels: object, columns: int | None) -> tuple[str, ...]:
    """Return `labels` as a tuple, if they name an output of that many `columns` (None: any number).

    They may be empty. A single column may have one name, its own, or two, those of 0 and of 1.

    Raises:
        ModelError: they are no tuple of names, too few or too many, or one cannot be a line of text.
    """
    if not isinstance(labels, list | tuple):
        raise ModelError(
            f"labels of {model} are {labels!r:.60}; a tuple of names is allowed, such as "
            f"{LABELS_EXAMPLE}, or ()"
        )
    for position, label in enumerate(labels):
        problem = _problem(label, labels[:position])
        if problem:
            raise ModelError(f"label {position} of {model} is {label!r:.60}: {problem}")
    allowed = _allowed_counts(columns)
    if allowed and len(labels) not in allowed:
        raise ModelError(
            f"{model} has {len(labels)} labels for an output of {columns} columns; "
            f"allowed: {', '.join(map(str, allowed[:-1]))} or {allowed[-1]}"
        )
    return tuple(labels)


def _allowed_counts(columns: int | None) -> tuple[int, ...]:
    if columns is None:
        return ()
    return (0, 1, BINARY_NAMES) if columns == 1 else (0, columns)


def _problem(label: object, before: Sequence[object]) -> str | None:
    if not isinstance(label, str):
        return f"it is of type {type(label).__name__}, a text is allowed"
    if not label.strip():
        return "a name of at least one visible character is needed"
    if any(unicodedata.category(character) in FORBIDDEN for character in label):
        return "line breaks, control characters and lone surrogates are not allowed"
    if label.strip() in [str(other).strip() for other in before]:
        return "it is there twice; every class needs a name of its own"
    return None


def column_names(labels: Sequence[str], columns: int | None) -> tuple[str, ...]:
    """Return the names of the output's columns; of two names for a single column, only that of class 1."""
    return tuple(labels[-1:] if columns == 1 else labels)

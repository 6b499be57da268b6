"""Why a converter did not take a model: the operator and its place in the model, in one line."""

import re
import sys
import traceback
from pathlib import Path

from pipelines.errors import first_line
from pipelines.import_path import ROOT

LONGEST = 240
# What torch.fx adds to an error while it runs a program node by node, and an exporter to one of its own.
TARGET = re.compile(r"While executing %\S+[^\n]*\[target=([\w.:]+)\]")
FRAME = re.compile(r'File "([^"]+)", line (\d+), in (\w+)')
ATEN = re.compile(r"\baten[.:]+\w+(?:\.\w+)?")
# Texts of converters that do not say what is meant, and what can be done about them.
MEANINGS = (
    (
        "Could not guard on data-dependent",
        "its control flow or a shape depends on its data; express it in tensors",
    ),
    ("Could not extract specialized integer", "a shape depends on its data; pad to a fixed size"),
    ("InconclusiveDimensionOperation", "a size must be known here; pad to a fixed size"),
    (
        "Constraints violated",
        "a dimension that its spec says is dynamic is fixed by forward; pad to that size",
    ),
)


def explain(error: BaseException) -> str:
    """Explain in one line: the operator, where the model calls it, and the converter's own first line."""
    whole = "".join(map(str, (error, *getattr(error, "__notes__", ()))))
    operator = _operator(whole)
    place = _place(whole, error)
    message = first_line(error)
    known_meaning = next(
        (meaning for text, meaning in MEANINGS if text in f"{type(error).__name__} {whole}"), None
    )
    parts = [f"operator {operator}"] * bool(operator) + [f"at {place}"] * bool(place)
    reason = message if message.startswith(type(error).__name__) else f"{type(error).__name__}: {message}"
    line = ": ".join(filter(None, (" ".join(parts), known_meaning or reason)))
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 1]}…"


def _operator(text: str) -> str | None:
    for pattern in (TARGET, ATEN):
        match = pattern.search(text)
        if match:
            return match.group(1) if pattern is TARGET else match.group(0)
    return None


def _place(text: str, error: BaseException) -> str | None:
    """Find the last line of the model's own code that is on the way to the error."""
    frames = [(file, line) for file, line, _ in FRAME.findall(text)]
    frames += [(f.filename, str(f.lineno)) for f in traceback.extract_tb(error.__traceback__)]
    own = [(file, line) for file, line in frames if _is_users(file)]
    return f"{Path(own[-1][0]).name}:{own[-1][1]}" if own else None


def _is_users(file: str) -> bool:
    """Return whether a file is a model's: neither installed, nor Python's, nor Tandem's machinery."""
    path = Path(file)
    machinery = any(path.is_relative_to(Path(ROOT) / room) for room in ("pipelines", "loadtests"))
    installed = "site-packages" in path.parts or any(
        path.is_relative_to(prefix) for prefix in {sys.base_prefix, sys.prefix}
    )
    named = path.is_absolute() and path.suffix == ".py"
    return named and not machinery and not installed and path.parent != Path(ROOT) / "models"

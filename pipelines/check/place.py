"""Which line of a model file a mistake is about."""

import ast
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from models.errors import ModelError

OURS = Path(__file__).resolve().parent.parent
SPEC, TENSOR = "ModelSpec", "TensorSpec"


def place_of(error: BaseException, file: Path, keyword: str | None) -> tuple[str, str]:
    """Return what the error says, and the line it is about, as FILE:LINE relative to the working directory.

    The line that the error names itself; else the innermost one of the traceback beside `file` or below; else
    that of the part of the spec that it is about, or of `keyword`.
    """
    if isinstance(error, ModelError) and error.place is not None:
        return _one_line(error.unplaced or ""), shown(Path(error.place.file), error.place.line)
    message = _one_line(str(error)) or type(error).__name__
    lines = [line for cause in _chain(error) for line in _frames(cause, file)]
    if lines and lines[-1][1] != line_of(file, None):
        return message, shown(*lines[-1])
    if lines:
        # The spec itself was refused.
        parts = (cause.part for cause in _chain(error) if isinstance(cause, ModelError))
        keyword = next((part for part in parts if part), keyword)
    return message, shown(file, line_of(file, keyword))


def _one_line(text: str) -> str:
    return " ".join(text.split())


def shown(path: Path, line: int) -> str:
    """Return the path and the line as a person would type them."""
    with suppress(ValueError):
        path = path.resolve().relative_to(Path.cwd())
    return f"{path}:{line}"


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield the error and its causes, the first cause last."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__


def _frames(error: BaseException, file: Path) -> Iterator[tuple[Path, int]]:
    folder = file.resolve().parent
    traceback: TracebackType | None = error.__traceback__
    while traceback is not None:
        name = traceback.tb_frame.f_code.co_filename
        path = Path(name)
        own = folder in path.resolve().parents and OURS not in path.parents
        if own and not name.startswith("<"):
            yield path, traceback.tb_lineno
        traceback = traceback.tb_next
    if isinstance(error, SyntaxError) and error.filename and error.lineno:
        yield Path(error.filename), error.lineno


def line_of(file: Path, keyword: str | None) -> int:
    """Return the line where the spec in `file` says `keyword` or names that tensor; else where it begins."""
    try:
        tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return 1
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    specs = [call for call in calls if _name(call) in (SPEC, "replace")]
    for call in calls:
        first = call.args[0] if call.args else None
        if _name(call) == TENSOR and isinstance(first, ast.Constant) and first.value == keyword:
            return call.lineno
    for call in specs:
        for argument in call.keywords:
            if argument.arg == keyword:
                return argument.value.lineno
    return specs[0].lineno if specs else 1


def _name(call: ast.Call) -> str:
    return str(getattr(call.func, "id", None) or getattr(call.func, "attr", ""))

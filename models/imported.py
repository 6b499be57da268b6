"""Which files beside a model file it imports, so that its digest can cover them. Reads; executes nothing."""

import ast
from collections.abc import Iterator
from pathlib import Path


def files_of(model_file: Path) -> tuple[Path, ...]:
    """The model file, and every Python file below its folder that it imports, also from inside functions."""
    root = model_file.resolve().parent
    found: dict[Path, None] = {}
    left = [model_file.resolve()]
    while left:
        path = left.pop()
        if path not in found and path.is_file():
            found[path] = None
            left += _imports(path, root)
    return tuple(found)


def _imports(path: Path, root: Path) -> Iterator[Path]:
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):  # then it is no Python either when it is imported
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _along(root, alias.name)
        elif isinstance(node, ast.ImportFrom):
            start = path.parents[node.level - 1] if 0 < node.level <= len(path.parents) else root
            names = [alias.name for alias in node.names if alias.name != "*"]
            for name in names or [""]:
                yield from _along(start, ".".join(filter(None, (node.module, name))))


def _along(start: Path, dotted: str) -> Iterator[Path]:
    """The files that may hold `dotted` or a package on the way to it, whether they are there or not."""
    place = start
    yield place / "__init__.py"
    for part in filter(None, dotted.split(".")):
        place = place / part
        yield place.with_name(f"{part}.py")
        yield place / "__init__.py"

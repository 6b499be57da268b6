"""Which files a model file imports, so that its digest can cover them. Reads; executes nothing."""

import ast
import os
from collections.abc import Iterator
from pathlib import Path

# Where a model file's modules come from beside its own folder; the second is `pipelines.import_path`'s.
PATH_VARIABLES = ("PYTHONPATH", "TANDEM_IMPORT_PATH")
PACKAGE = Path(__file__).resolve().parent.parent
INSTALLED = ("site-packages", "dist-packages")


def files_of(model_file: Path) -> tuple[Path, ...]:
    """List the model file, and every Python file that it imports and that is not installed.

    This includes what functions import. Files are looked for in the model's own folder, the working directory
    and PYTHONPATH.
    """
    roots = (model_file.resolve().parent, *_user_entries())
    files: dict[Path, None] = {}
    left = [model_file.resolve()]
    while left:
        path = left.pop()
        if path not in files and path.is_file():
            files[path] = None
            left += _imports(path, roots)
    return tuple(files)


def _user_entries() -> list[Path]:
    """List folders on the import path that are no installation and not this package's own."""
    texts = (os.environ.get(name, "") for name in PATH_VARIABLES)
    entries = [Path(part).resolve() for text in texts for part in text.split(os.pathsep) if part]
    ours = [entry for entry in entries if entry == PACKAGE or {*entry.parts} & {*INSTALLED}]
    return [entry for entry in dict.fromkeys(entries) if entry not in ours]


def _imports(path: Path, roots: tuple[Path, ...]) -> Iterator[Path]:
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):  # then it is no Python either when it is imported
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _from_first(roots, alias.name)
        elif isinstance(node, ast.ImportFrom):
            relative = 0 < node.level <= len(path.parents)
            starts = (path.parents[node.level - 1],) if relative else roots
            names = [alias.name for alias in node.names if alias.name != "*"]
            for name in names or [""]:
                yield from _from_first(starts, ".".join(filter(None, (node.module, name))))


def _from_first(roots: tuple[Path, ...], dotted: str) -> Iterator[Path]:
    """Yield the files of a module in the first of the folders that has any of it, as Python looks for it."""
    first = dotted.partition(".")[0]
    for root in roots:
        if not first or (root / f"{first}.py").is_file() or (root / first).is_dir():
            yield from _along(root, dotted)
            return


def _along(start: Path, dotted: str) -> Iterator[Path]:
    """Yield the files that may hold `dotted` or a package on the way to it, existing or not."""
    place = start
    yield place / "__init__.py"
    for part in filter(None, dotted.split(".")):
        place = place / part
        yield place.with_name(f"{part}.py")
        yield place / "__init__.py"

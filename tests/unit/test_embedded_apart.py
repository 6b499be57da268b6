"""The embedded server stands apart: what it takes of the rest is what its README names."""

import ast
from pathlib import Path

from pipelines.targets.tfserving import embedded

FOLDER = Path(embedded.__file__).parent
OURS = ("pipelines", "models", "loadtests")


def imported(path: Path) -> set[str]:
    """Modules of ours that a module of the folder imports from outside of it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module)
        elif isinstance(node, ast.ImportFrom) and node.level > 1:
            found.add(f"pipelines.{'.' * node.level}{node.module or ''}")
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    ours = {name for name in found if name.split(".")[0] in OURS}
    return {name for name in ours if not name.startswith(embedded.__name__)}


def test_it_imports_nothing_of_ours_but_what_its_readme_names():
    readme = (FOLDER / "README.md").read_text()
    taken = set().union(*(imported(path) for path in FOLDER.glob("*.py")))
    assert taken == {"pipelines.errors"}
    assert [name for name in taken if f"`{name}`" not in readme] == []

"""The embedded server stands apart: what it takes of the rest is what its README names."""

import ast
from pathlib import Path

import pytest

import pipelines
from pipelines.targets.tfserving import embedded

FOLDER = Path(embedded.__file__).parent
ROOT = Path(pipelines.__file__).parent
OURS = ("pipelines", "models", "loadtests")


def taken(path: Path) -> set[tuple[str, str]]:
    """Module and name of each thing inside the folder that a module outside of it imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            inside = node.module == embedded.__name__ or node.module.startswith(f"{embedded.__name__}.")
            found |= {(node.module, alias.name) for alias in node.names} if inside else set()
        elif isinstance(node, ast.Import):
            found |= {(alias.name, "") for alias in node.names if alias.name.startswith(embedded.__name__)}
    return found


@pytest.mark.slow
def test_nothing_else_is_taken_from_its_inside_but_what_its_readme_names():
    outside = [path for path in ROOT.rglob("*.py") if FOLDER not in path.parents]
    found = set().union(*map(taken, outside))
    assert found == {
        (f"{embedded.__name__}.flags", "default_threads"),
        (f"{embedded.__name__}.batching_parameters", "BatchingParameters"),
    }
    readme = (FOLDER / "README.md").read_text()
    for module, name in found:
        assert f"`{name}` from `{module.rpartition('.')[2]}.py`" in " ".join(readme.split())


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

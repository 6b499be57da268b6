"""The order of the rooms: no import runs upwards or in a circle, also none inside a function."""

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from importlib.util import resolve_name
from pathlib import Path

import pytest

from pipelines import ROOMS

ROOT = Path(__file__).parents[2]
PACKAGES = ("models", "loadtests", "pipelines")
RANKS = {room: rank for rank, (room, _) in enumerate(ROOMS)}


def module_name(path: Path, root: Path) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def dotted_names(tree: ast.AST, package: str) -> Iterator[str]:
    """Everything that is imported anywhere in a file of `package`, by its full name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            name = f"{'.' * node.level}{node.module or ''}"
            base = resolve_name(name, package) if node.level else name
            yield from (f"{base}.{alias.name}" for alias in node.names)


def imports(root: Path) -> dict[str, set[str]]:
    """Per module of ours the modules of ours that it imports."""
    files = {
        module_name(path, root): path
        for package in PACKAGES
        for path in sorted((root / package).rglob("*.py"))
    }
    return {module: imports_of(path, module, files) for module, path in files.items()}


def imports_of(path: Path, module: str, files: dict[str, Path]) -> set[str]:
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    names = dotted_names(ast.parse(path.read_text()), package)
    return {found for name in names if (found := longest(name, files)) and found != module}


def longest(name: str, modules: dict[str, Path]) -> str | None:
    """The module of ours that an imported name is, or is in."""
    while name:
        if name in modules:
            return name
        name = name.rpartition(".")[0]
    return None


def room(module: str) -> str:
    return module.split(".")[1]


def upward(arrows: dict[str, set[str]]) -> list[tuple[str, str]]:
    """Imports that no room below may have: of a room above it, and any of a leaf's."""
    return [
        (module, imported)
        for module, all_imported in sorted(arrows.items())
        for imported in sorted(all_imported)
        if imported.startswith("pipelines.") and module != "pipelines"
        if not module.startswith("pipelines.") or RANKS[room(imported)] > RANKS[room(module)]
    ]


def circles(arrows: dict[str, set[str]]) -> list[str]:
    try:
        TopologicalSorter(arrows).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


@pytest.fixture(scope="module")
def arrows() -> dict[str, set[str]]:
    return imports(ROOT)


def test_every_room_is_named_once_and_no_other_is():
    there = {
        path.stem
        for path in (ROOT / "pipelines").iterdir()
        if path.suffix == ".py" or (path / "__init__.py").is_file()
    }
    assert sorted(RANKS) == sorted(there - {"__init__"})
    assert len(RANKS) == len(ROOMS)


def test_no_import_runs_upwards(arrows):
    assert upward(arrows) == []


def test_no_imports_go_in_a_circle(arrows):
    assert circles(arrows) == []


@pytest.fixture
def house(tmp_path):
    """A house of three modules with one import each, as the test wants them."""

    def build(models: str, files: str, smoke: str) -> dict[str, set[str]]:
        for name, text in {
            "models/spec": models,
            "pipelines/files/atomic": files,
            "pipelines/smoke/stage": smoke,
            "pipelines/smoke/load": "",
        }.items():
            path = tmp_path / f"{name}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return imports(tmp_path)

    return build


def test_downward_imports_are_allowed(house):
    found = house("", "import models.spec", "from pipelines.files import atomic")
    assert found["pipelines.smoke.stage"] == {"pipelines.files.atomic"}
    assert (upward(found), circles(found)) == ([], [])


@pytest.mark.parametrize(
    "statement",
    [
        "from pipelines.smoke import stage",
        "import pipelines.smoke.stage",
        "from pipelines.smoke.stage import anything",
        "def lazily():\n    from pipelines.smoke.stage import anything",
        "if TYPE_CHECKING:\n    import pipelines.smoke.stage as later",
    ],
)
def test_an_upward_import_is_found_wherever_it_hides(house, statement):
    assert upward(house("", statement, "")) == [("pipelines.files.atomic", "pipelines.smoke.stage")]
    assert upward(house(statement, "", "")) == [("models.spec", "pipelines.smoke.stage")]


def test_a_circle_is_found(house):
    found = house("", "from pipelines.smoke import stage", "from pipelines.files import atomic")
    assert set(circles(found)) == {"pipelines.files.atomic", "pipelines.smoke.stage"}

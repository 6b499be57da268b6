"""Which modules of a target's folder decide what is exported: all that nothing declares to be of running."""

import ast
import dataclasses
from pathlib import Path

import pytest

from models.digits_cnn import MODEL
from models.given import Given, GivenFile
from pipelines.export import stage
from pipelines.imported import placement
from pipelines.targets.registry import BUILT_IN, IMPORTS, TARGETS
from pipelines.targets.target import TARGETS_FOLDER, Target

# What an exporter asks a runtime is whether the artifact runs, and no byte of it comes from there.
PROVEN_BY_RUNTIME = {("executorch", "runtime.py"), ("onnx", "runtime.py"), ("torchserve", "runtime.py")}


@pytest.fixture
def folder(tmp_path):
    """A target's folder with modules of any name."""
    folder = tmp_path / "own_target"
    folder.mkdir()
    for name in ("__init__", "export", "model", "settings", "archive", "runtime", "server", "app"):
        (folder / f"{name}.py").write_text("")
    return folder


def target(folder, **changes):
    given = {
        "export": "own_target.export:export",
        "runtime": "own_target.runtime:predict",
        "server": "own_target.server:plan",
        **changes,
    }
    return Target(name="own", framework="own", toolchain=(), folder=folder, **given)


def names(made):
    return {path.name for path in made.sources}


def test_a_module_counts_whatever_it_is_called_unless_it_is_declared_to_run_the_artifact(folder):
    assert names(target(folder)) == {"export.py", "model.py", "settings.py", "archive.py", "app.py"}
    running = target(folder, settings="own_target.settings:Settings", run_only=("app",))
    assert names(running) == {"export.py", "model.py", "archive.py"}


@pytest.mark.parametrize("module", ["model", "runtime"])
def test_the_exporters_own_module_always_counts(folder, module):
    assert f"{module}.py" in names(target(folder, export=f"own_target.{module}:export", run_only=("model",)))


def test_an_exporter_in_the_package_itself_counts(folder):
    assert "__init__.py" in names(target(folder, export="own_target:export"))


def test_a_module_of_the_packages_own_name_is_not_the_package(folder):
    (folder / "own_target.py").write_text("")
    assert "own_target.py" in names(target(folder))
    assert "__init__.py" not in names(target(folder))
    assert names(target(folder, export="own_target.own_target:export")) == names(target(folder))
    assert "own_target.py" not in names(target(folder, runtime="own_target.own_target:predict"))
    assert {"own_target.py", "__init__.py"} <= names(target(folder, export="own_target:export"))


@pytest.mark.parametrize("module", ["archive", "runtime", "__init__"])
def test_a_module_that_places_imported_files_counts_for_these_whatever_else_it_is(folder, module):
    dotted = "own_target" if module == "__init__" else f"own_target.{module}"
    made = target(folder, place=f"{dotted}:place", placing=(folder / "app.py",), run_only=("app",))
    assert f"{module}.py" not in names(made)
    assert {path.name for path in made.placing_sources} == {f"{module}.py", "app.py"}


def test_a_module_that_exports_and_places_counts_once(folder):
    made = target(folder, place="own_target.export:place")
    assert "export.py" in names(made)
    assert made.placing_sources == []


def test_where_nothing_is_placed_nothing_more_counts(folder):
    assert target(folder).placing_sources == []


PLACED = [name for name, target in BUILT_IN.items() if target.place]


@pytest.mark.parametrize("name", PLACED)
def test_code_that_takes_over_imported_files_decides_these_alone(name, monkeypatch):
    """A comment in it must not export anew what no imported file has a part in."""
    counted = {}
    monkeypatch.setattr(stage.artifact, "versions", dict.fromkeys)
    monkeypatch.setattr(
        stage.artifact, "export_key", lambda spec, _, sources: counted.setdefault(spec.name, sources)
    )
    kind = BUILT_IN[name].imports[0][0]
    file = GivenFile(kind, f"net.{kind}", "", "", 0, "float32", {}, {}, "program.pt")
    given = Given(Path("imported"), (file,), kind, False, 1)
    stage._key(MODEL, TARGETS[name])
    stage._key(dataclasses.replace(MODEL, name="given", given=given), TARGETS[name])
    taking_over = {IMPORTS, placement.SOURCE, TARGETS_FOLDER / counted_folder(name) / "imported.py"}
    assert taking_over <= set(counted["given"])
    assert not taking_over & set(counted[MODEL.name])


def counted_folder(name: str) -> str:
    """The folder of the code that places what a target is made of."""
    return BUILT_IN[name].place.split(".")[2]


def imported(path: Path) -> set[Path]:
    """Modules below the targets' folder that a file imports, at its head or in a function."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("pipelines.targets."):
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    paths = {TARGETS_FOLDER.joinpath(*name.split(".")[2:]).with_suffix(".py") for name in names}
    return {path for path in paths if path.is_file()}


@pytest.mark.parametrize("name", BUILT_IN)
def test_no_exporter_takes_from_a_folder_what_does_not_count(name):
    """A module of a target's folder whose change would export nothing anew must not decide an export."""
    sources = [path for path in BUILT_IN[name].sources if path.is_relative_to(TARGETS_FOLDER)]
    needed = {path for source in sources for path in imported(source) if path.parent != TARGETS_FOLDER}
    missing = {(path.parent.name, path.name) for path in needed - set(sources)}
    assert missing - PROVEN_BY_RUNTIME == set()


@pytest.mark.parametrize("name", PLACED)
def test_nothing_is_made_of_an_imported_file_by_what_does_not_count(name):
    target = BUILT_IN[name]
    counting = {*target.sources, *target.placing_sources}
    needed = {path for source in target.placing_sources for path in imported(source)}
    assert {path.name for path in needed - counting} <= {"exported.py"}

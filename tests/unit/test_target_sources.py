"""Which modules of a target's folder decide what is exported: all that nothing declares to be of running."""

import ast
from pathlib import Path

import pytest

from pipelines.targets.registry import BUILT_IN
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

"""A user's own files never hide the standard library, our packages or their dependencies."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines import doctor
from pipelines.import_path import ROOT
from pipelines.processes.children import child_environment, python_module, tool_environment
from pipelines.runners import compose

BOOBY_TRAP = (
    "from pathlib import Path\nPath(__file__).with_suffix('.executed').touch()\nraise SystemExit(99)\n"
)
NAMES = (
    "models",
    "loadtests",
    "typing",
    "statistics",
    "json",
    "numpy",
    "click",
    "rich",
    "socket",
    "tempfile",
    "signal",
)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder whose files have the names of modules that we import."""
    for name in NAMES:
        (tmp_path / f"{name}.py").write_text(BOOBY_TRAP)
    (tmp_path / "models.py").rename(tmp_path / "models_.py")
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "__init__.py").write_text(BOOBY_TRAP)
    return tmp_path


def executed(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*.executed"))


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [[str(Path(sys.executable).with_name("tandem"))], [sys.executable, "-m", "pipelines.cli.main"]],
    ids=["script", "module"],
)
@pytest.mark.parametrize("import_path", [None, ".", ":/nowhere"])
def test_the_command_line_runs_in_a_project_with_files_of_these_names(project, command, import_path):
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    if import_path:
        environment["PYTHONPATH"] = import_path
    done = subprocess.run(
        [*command, "models", "--json"],
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert executed(project) == []
    assert done.returncode == 0, done.stderr
    assert "digits_cnn" in [model["name"] for model in json.loads(done.stdout)]


@pytest.mark.slow
def test_a_project_with_pipelines_of_its_own_keeps_them_and_gets_our_command(project, monkeypatch):
    (project / "pipelines").mkdir()
    (project / "pipelines" / "__init__.py").write_text(BOOBY_TRAP)
    monkeypatch.setenv("PYTHONPATH", ".")
    command = [str(Path(sys.executable).with_name("tandem")), "models", "--json"]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)
    assert executed(project) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "module",
    ["pipelines.tasks.task_main", "loadtests.generator", "loadtests.prefork", "loadtests.servers.null"],
)
def test_children_run_nothing_of_the_working_directory(project, module):
    done = subprocess.run(
        python_module(module, "--help"),
        cwd=project,
        env=child_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert executed(project) == []
    assert done.returncode != 99


def test_children_find_our_packages_anywhere(tmp_path):
    script = "import loadtests as a, models as b, pipelines as c; print(*{p.__path__[0] for p in (a, b, c)})"
    command = [*python_module("x")[:2], "-c", script]
    done = subprocess.run(
        command, cwd=tmp_path, env=child_environment(), capture_output=True, text=True, check=True
    )
    assert {str(Path(path).parent) for path in done.stdout.split()} == {ROOT}


def test_a_model_file_still_imports_what_lies_beside_it_and_what_pythonpath_names(tmp_path):
    project, shared = tmp_path / "project", tmp_path / "shared"
    (project / "models").mkdir(parents=True)
    shared.mkdir()
    (project / "helper.py").write_text("BESIDE = 1\n")
    (project / "pipelines").mkdir()
    (project / "models" / "net.py").write_text("IN_MODELS = 2\n")
    (project / "pipelines" / "cleaning.py").write_text("from pipelines.errors import UserError\nZERO = 0\n")
    (shared / "elsewhere.py").write_text("ON_PATH = 3\n")
    (project / "net.v1.5.py").write_text(
        "from __future__ import annotations\n"
        "from dataclasses import dataclass, replace\n"
        "from helper import BESIDE\nfrom models.net import IN_MODELS\n"
        "from pipelines.cleaning import ZERO\nfrom elsewhere import ON_PATH\n"
        "from models.spec import load_model\n"
        "@dataclass\nclass Settings:\n    total: int = ZERO + BESIDE + IN_MODELS + ON_PATH\n"
        "MODEL = replace(load_model('digits_cnn'), name=f'net_{Settings().total}')\n"
    )
    script = (
        "import pipelines; from models.spec import load_model; print(load_model('project/net.v1.5.py').name)"
    )
    parent = (
        "import pipelines, subprocess, sys; from pipelines.processes.children import child_environment; "
        f"command = [sys.executable, '-P', '-c', {script!r}]; "
        "sys.exit(subprocess.run(command, env=child_environment()).returncode)"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", parent],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": "shared"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "net_6", done.stderr


def test_a_tool_that_is_written_in_python_runs_nothing_of_the_project(project, tmp_path_factory, monkeypatch):
    tool = tmp_path_factory.mktemp("bin") / "docker-compose"
    tool.write_text(f"#!{sys.executable}\nimport json, statistics, socket\nprint('1.29.2')\n")
    tool.chmod(0o755)
    for name, value in {"PYTHONPATH": str(project), "PYTHONHOME": "/nowhere", "PYTHON_PORT": "8"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PATH", str(tool.parent))
    assert compose._answers(["docker-compose"])
    assert doctor._ask("docker-compose") == "1.29.2"
    code, output = compose._run(["docker-compose"], tool_environment({"X": "1"}))
    assert (code, output.strip()) == (0, "1.29.2")
    assert executed(project) == []
    assert tool_environment({"X": "1"}).items() >= {"X": "1", "PYTHON_PORT": "8"}.items()


@pytest.mark.parametrize("name", ["PYTHONPATH", "PYTHONOPTIMIZE", "OMP_NUM_THREADS", "KERAS_BACKEND", "TF_X"])
def test_the_shell_does_not_decide_what_children_compute(monkeypatch, name):
    monkeypatch.setenv(name, "of the shell")
    assert child_environment().get(name) != "of the shell"


def test_what_says_where_things_are_is_kept(monkeypatch):
    for name in ("HOME", "TMPDIR", "KERAS_HOME", "LD_LIBRARY_PATH", "https_proxy"):
        monkeypatch.setenv(name, "/somewhere")
    assert {child_environment()[name] for name in ("HOME", "TMPDIR", "KERAS_HOME", "https_proxy")} == {
        "/somewhere"
    }
    assert child_environment({"PYTHONPATH": ""})["PYTHONPATH"] == ""

"""`make setup`: which Python the environment is made with, and an index's password that nobody sees."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PASSWORD = "s3cr3t"  # noqa: S105 - what must not be seen
# Stands for an interpreter: says who it is, and notes what pip is told, by arguments and by its input.
PYTHON = """#!/bin/sh
case "$*" in *base_prefix*) echo {name}; exit ;; esac
case "$*" in
*" install "*) echo "$@" >>{notes}; [ -t 0 ] || cat >>{notes}; exit {code} ;;
esac
"""

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="needs make")


def interpreter(path, name, notes, code=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(PYTHON.format(name=name, notes=notes, code=code))
    path.chmod(0o755)
    return path


@pytest.fixture
def notes(tmp_path):
    return tmp_path / "notes"


@pytest.fixture
def ready(tmp_path, notes):
    """An environment that is made, and of a Python called `first`."""
    venv = tmp_path / "venv"
    interpreter(venv / "bin" / "python", "first", notes)
    (venv / "pyvenv.cfg").touch()
    (venv / ".ready").touch()
    return venv


def make(*words, **variables):
    done = subprocess.run(
        ["make", "-C", ROOT, *words],
        env={"PATH": os.environ["PATH"], "HOME": "/nowhere", **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return done.returncode, done.stdout + done.stderr


def plan(venv, *words):
    """The commands that `make setup` would run."""
    return make("--dry-run", "setup", f"VENV={venv}", *words)[1]


@pytest.mark.parametrize("named", ["", "first"])
def test_an_environment_that_is_made_stays_for_the_same_python_or_none_that_is_named(
    named, ready, tmp_path, notes
):
    words = [f"PYTHON={interpreter(tmp_path / 'again', named, notes)}"] if named else []
    assert " -m venv" not in plan(ready, *words)


def test_another_python_that_is_named_makes_the_environment_anew(ready, tmp_path, notes):
    second = interpreter(tmp_path / "second", "second", notes)
    assert f" -m venv --clear {ready}" in plan(ready, f"PYTHON={second}")


def test_half_an_environment_of_another_python_is_made_anew_too(ready, tmp_path, notes):
    (ready / ".ready").unlink()
    second = interpreter(tmp_path / "second", "second", notes)
    assert f" -m venv --clear {ready}" in plan(ready, f"PYTHON={second}")


def test_a_folder_that_is_no_environment_is_not_emptied(tmp_path, notes):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    second = interpreter(tmp_path / "second", "second", notes)
    planned = plan(tmp_path / "mine", f"PYTHON={second}")
    assert " -m venv" in planned
    assert "--clear" not in planned


def test_a_python_that_is_not_there_is_refused_and_the_environment_stays(ready):
    code, said = make("setup", f"VENV={ready}", "PYTHON=no-such-python")
    assert code == 2
    assert "no-such-python" in said
    assert (ready / ".ready").exists()


def test_the_python_that_runs_these_tests_is_known_by_what_it_was_made_from(tmp_path):
    venv = tmp_path / "venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "bin" / "python").symlink_to(sys.executable)
    (venv / ".ready").touch()
    assert " -m venv" not in plan(venv, f"PYTHON={sys.executable}")


def test_the_password_of_an_index_is_neither_shown_nor_an_argument(tmp_path, notes):
    interpreter(tmp_path / "venv" / "bin" / "python", "first", notes, code=1)
    index = f"https://somebody:{PASSWORD}@packages.example/cpu"
    _, said = make("install-torch", f"VENV={tmp_path / 'venv'}", TORCH_INDEX_URL=index)
    assert "fetching it from https://packages.example/cpu" in said
    lines = notes.read_text().splitlines()
    assert f"--extra-index-url {index}" in lines
    assert not [line for line in lines if PASSWORD in line and "pip" in line.split()]
    assert PASSWORD not in said

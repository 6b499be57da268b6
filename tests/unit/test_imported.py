"""Whatever decides what a model file computes is in its digest, wherever its checkpoint lies."""

import os

import pytest

from models.digits_cnn import MODEL as DIGITS
from models.imported import files_of
from models.spec import load_model
from pipelines.artifacts.manifest import export_key

MODEL_FILE = """
import dataclasses, json
from models.digits_cnn import MODEL as DIGITS
import direct

def build_torch():
    from net.parts.lazy import Net
    return Net()

MODEL = dataclasses.replace(DIGITS, name="mine", sources=(), build_torch=build_torch)
"""
FILES = {
    "mine.py": MODEL_FILE,
    "direct.py": "import indirect.deep\n",
    "indirect/deep.py": "import direct\n",
    "net/__init__.py": "",
    "net/parts/lazy.py": "from ..shared import *\nfrom . import beside\n",
    "net/parts/beside.py": "",
    "net/shared.py": "",
    "unrelated.py": "",
}


@pytest.fixture
def project(tmp_path):
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def test_what_a_model_file_imports_is_found_without_executing_it(project):
    found = {str(path.relative_to(project)) for path in files_of(project / "mine.py")}
    assert found == set(FILES) - {"unrelated.py"}


@pytest.mark.parametrize("name", FILES)
def test_a_change_of_an_imported_file_is_another_model(project, name):
    before = load_model(str(project / "mine.py")).digest
    (project / name).write_text(FILES[name] + "\n# changed\n")
    changed = load_model(str(project / "mine.py")).digest != before
    assert changed == (name != "unrelated.py")


def test_the_digest_does_not_depend_on_where_the_project_is(project, tmp_path_factory):
    moved = project.rename(tmp_path_factory.mktemp("elsewhere") / "moved")
    before = load_model(str(moved / "mine.py")).digest
    again = moved.rename(moved.with_name("again"))
    assert load_model(str(again / "mine.py")).digest == before


def key_of(project):
    return export_key(load_model(str(project / "mine.py")), {}, [])


def test_forward_changes_the_export_key_wherever_the_checkpoint_is_and_nothing_beside_that_does(
    project, tmp_path_factory
):
    weights = tmp_path_factory.mktemp("weights")
    (weights / "w.safetensors").write_bytes(DIGITS.checkpoint.read_bytes())
    (weights / "beside.py").write_text("")
    text = MODEL_FILE.replace("sources=()", f"sources=(), checkpoint={str(weights / 'w.safetensors')!r}")
    (project / "mine.py").write_text(text)
    before = key_of(project)
    (weights / "beside.py").write_text("x = 1")
    (project / "unrelated.py").write_text("x = 1")
    assert key_of(project) == before
    (project / "net" / "parts" / "lazy.py").write_text("x = 1")
    changed = key_of(project)
    assert changed != before
    (weights / "w.safetensors").write_bytes(b"other")
    assert key_of(project) not in (before, changed)


def test_modules_on_pythonpath_count_and_installed_ones_do_not(project, tmp_path_factory, monkeypatch):
    shared, installed = tmp_path_factory.mktemp("shared"), tmp_path_factory.mktemp("x") / "site-packages"
    installed.mkdir()
    (shared / "everywhere.py").write_text("import fixed")
    (installed / "fixed.py").write_text("")
    monkeypatch.setenv("PYTHONPATH", f"{shared}{os.pathsep}{installed}")
    (project / "mine.py").write_text(MODEL_FILE + "\ndef late():\n    import everywhere\n")
    found = files_of(project / "mine.py")
    assert (shared / "everywhere.py").resolve() in found
    assert (installed / "fixed.py").resolve() not in found


WHOLE = """
from __future__ import annotations
from dataclasses import dataclass
import dataclasses
from beside import COLUMNS
from models.digits_cnn import MODEL as DIGITS

@dataclass
class Sizes:
    columns: int = COLUMNS
    other: Sizes | None = None

MODEL = dataclasses.replace(DIGITS, name=f"mine_{Sizes().columns}")
"""


def test_a_model_file_may_hold_dataclasses_with_late_annotations_and_import_its_neighbours(tmp_path):
    (tmp_path / "beside.py").write_text("COLUMNS = 7\n")
    (tmp_path / "whole.py").write_text(WHOLE)
    spec = load_model(str(tmp_path / "whole.py"))
    assert spec.name == "mine_7"
    assert {path.name for path in spec.sources} >= {"whole.py", "beside.py"}

"""Whatever decides what a model file computes is in its digest, wherever its checkpoint lies."""

import dataclasses

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


def test_an_editors_lock_file_beside_the_checkpoint_does_no_harm(project):
    checkpoint = project / "weights.safetensors"
    checkpoint.write_bytes(DIGITS.checkpoint.read_bytes())
    spec = dataclasses.replace(DIGITS, checkpoint=checkpoint)
    before = export_key(spec, {}, [])
    (project / ".#mine.py").symlink_to("somebody@somewhere.123")
    (project / "folder.py").mkdir()
    assert export_key(spec, {}, []) == before

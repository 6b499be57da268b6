"""Two models of one name do not share an artifacts folder."""

import dataclasses

import pytest

from models.digits_cnn import MODEL
from pipelines.artifacts.manifest import require_manifest
from pipelines.artifacts.owner import OWNER_NAME, claim, require_owner
from pipelines.errors import RequestError


def of_file(path, text=None):
    path.parent.mkdir(exist_ok=True)
    path.write_text(str(path) if text is None else text)
    return dataclasses.replace(MODEL, name="mine", origin=path, sources=(path,))


@pytest.fixture
def root(tmp_path):
    return tmp_path / "artifacts" / "mine"


def test_two_files_of_one_name_are_refused(root, tmp_path):
    one, other = of_file(tmp_path / "a" / "mine.py"), of_file(tmp_path / "b" / "mine.py")
    claim(root, one)
    claim(root, one)
    for asks in (claim, require_owner, lambda root, spec: require_manifest(root / "tflite", spec)):
        with pytest.raises(RequestError, match=r"another model called mine, that of .*a/mine\.py; give one"):
            asks(root, other)


def test_a_model_file_that_is_gone_leaves_its_folder_to_others(root, tmp_path):
    one, other = of_file(tmp_path / "a" / "mine.py"), of_file(tmp_path / "b" / "mine.py")
    claim(root, one)
    one.origin.unlink()
    claim(root, other)
    one.origin.write_text("")
    with pytest.raises(RequestError, match=r"b/mine\.py"):
        claim(root, one)


def test_a_project_may_be_moved_with_its_artifacts(tmp_path):
    spec = of_file(tmp_path / "project" / "mine.py")
    claim(tmp_path / "project" / "artifacts" / "mine", spec)
    moved = (tmp_path / "project").rename(tmp_path / "moved")
    spec = dataclasses.replace(spec, origin=moved / "mine.py", sources=(moved / "mine.py",))
    of_file(tmp_path / "project" / "mine.py")
    claim(moved / "artifacts" / "mine", spec)


def test_a_copy_that_is_the_very_same_model_is_no_other_one(root, tmp_path):
    one = of_file(tmp_path / "a" / "mine.py", "same")
    claim(root, one)
    require_owner(root, of_file(tmp_path / "b" / "mine.py", "same"))
    with pytest.raises(RequestError, match=r"a/mine\.py"):
        require_owner(root, of_file(tmp_path / "b" / "mine.py", "changed"))


@pytest.mark.parametrize("text", ["", "[]", '{"file": 3}'])
def test_a_damaged_claim_is_none(root, tmp_path, text):
    root.mkdir(parents=True)
    (root / OWNER_NAME).write_text(text)
    claim(root, of_file(tmp_path / "mine.py"))
    assert "mine.py" in (root / OWNER_NAME).read_text()

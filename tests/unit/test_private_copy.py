import os
from pathlib import Path

import pytest
from manifest_fixture import manifest_of

from models.digits_cnn import MODEL
from pipelines.artifacts.private_copy import copy_proven, require_unchanged
from pipelines.errors import GateError, MachineError
from pipelines.runners.local import LocalRunner
from pipelines.targets.server_plan import ServeRequest

FILES = {"digits_cnn/1/saved_model.pb": b"graph", "digits_cnn/1/variables/v": b"12345"}


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "tfserving"
    for name, content in FILES.items():
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        (made / name).write_bytes(content)
    return made


@pytest.fixture
def manifest(folder):
    return manifest_of(folder, "digits_cnn/1")


def content_of(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_the_copy_holds_what_was_proven_and_nothing_else(folder, manifest, tmp_path):
    (folder / "digits_cnn/2").mkdir()
    (folder / "digits_cnn/2/saved_model.pb").write_bytes(b"another")
    assert content_of(copy_proven(folder, manifest, tmp_path / "copy")) == FILES


def test_what_happens_to_the_artifact_afterwards_does_not_reach_the_copy(folder, manifest, tmp_path):
    os.link(folder / "digits_cnn/1/saved_model.pb", tmp_path / "another-name")
    copy = copy_proven(folder, manifest, tmp_path / "copy")
    (tmp_path / "another-name").write_bytes(b"changed in place")
    (folder / "digits_cnn").rename(tmp_path / "gone")
    assert content_of(copy) == FILES


@pytest.mark.parametrize(
    "change",
    [
        lambda path: path.write_bytes(b"Graph"),
        lambda path: path.write_bytes(b"graph and more"),
        lambda path: path.unlink(),
        lambda path: (path.unlink(), os.mkfifo(path)),
        lambda path: (path.rename(path.with_name("other")), path.symlink_to("other")),
    ],
    ids=["a flipped bit", "longer", "gone", "a FIFO", "a link"],
)
def test_what_changed_after_the_proof_is_not_served(folder, manifest, tmp_path, change):
    change(folder / "digits_cnn/1/saved_model.pb")
    with pytest.raises(GateError, match=r"saved_model\.pb"):
        copy_proven(folder, manifest, tmp_path / "copy")


def test_a_folder_that_cannot_be_written_is_the_machines_fault(folder, manifest):
    with pytest.raises(MachineError, match="cannot write"):
        copy_proven(folder, manifest, Path("/proc/nowhere"))


def test_the_local_runner_gives_a_server_a_folder_of_its_own(folder, manifest, tmp_path):
    work = tmp_path / "work"
    work.mkdir()
    request = ServeRequest(MODEL, folder, work, proven=manifest)
    with LocalRunner().prepare("tfserving", request) as server:
        (base,) = [word for word in server.plan.launch.argv if word.startswith("--model_base_path=")]
        assert base == f"--model_base_path={work.resolve()}/served/digits_cnn"
        assert content_of(work / "served") == FILES


def test_another_manifest_than_before_is_refused(manifest):
    require_unchanged({"tfserving": manifest}, {"tfserving": manifest})
    with pytest.raises(GateError, match="tfserving changed while"):
        require_unchanged(
            {"tfserving": manifest}, {"tfserving": manifest.model_copy(update={"key": "another"})}
        )

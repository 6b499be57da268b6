"""Artifacts that somebody else put there, asked for as a person does: one line, and nothing is left."""

import json
import os
import shutil
import zipfile
from pathlib import Path

import psutil
import pytest
from main_job import complaint, processes_of, running, tandem
from test_bad_days import adopt, copy

from pipelines.artifacts.contents import file_digests
from pipelines.artifacts.manifest import read_manifest, write_manifest
from pipelines.processes.group import wait_until

pytestmark = pytest.mark.slow
__all__ = ["copy"]  # a fixture
FOLDER = Path("artifacts/digits_cnn")

HANDLER = """
import os, subprocess, sys, tempfile
open(os.path.join(tempfile.mkdtemp(), "left-behind"), "w").close()
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", MARK], start_new_session=True)
os._exit(0)
"""


def with_handler(archive: Path, source: str) -> None:
    """Replace the handler of a model archive."""
    with zipfile.ZipFile(archive) as file:
        content = {info.filename: file.read(info) for info in file.infolist() if not info.is_dir()}
    with zipfile.ZipFile(archive, "w") as file:
        for name, data in content.items():
            file.writestr(name, source.encode() if name == "handler.py" else data)


def keep_only(artifact: Path) -> None:
    """Remove the other artifacts of its target: each would be asked in a process of its own."""
    manifest = read_manifest(artifact.parent)
    for other in manifest.artifacts:
        if other.path != artifact.name:
            (artifact.parent / other.path).unlink()
    kept = tuple(one for one in manifest.artifacts if one.path == artifact.name)
    changes = {"artifacts": kept, "files": file_digests(artifact.parent, [artifact.name])}
    write_manifest(artifact.parent, manifest.model_copy(update=changes))


def test_a_second_version_beside_the_verified_one_is_not_served(copy):
    folder = copy / FOLDER / "tfserving/digits_cnn"
    shutil.copytree(folder / "1", folder / "2")
    done = tandem("serve", "tfserving", cwd=copy)
    assert done.returncode == 1, done.stderr
    assert f"does not list {FOLDER}/tfserving/digits_cnn/2 (a folder)" in complaint(done.stderr)
    assert (folder / "2").is_dir()
    assert processes_of(copy) == []


def test_a_handler_that_ends_its_process_leaves_neither_processes_nor_folders(copy, monkeypatch):
    archive = copy / FOLDER / "torchserve/digits_cnn.mar"
    mark = f"mark-of-{copy.name}-{os.getpid()}"
    keep_only(archive)
    with_handler(archive, f"MARK = {mark!r}\n{HANDLER}")
    adopt(archive.parent, archive.name)
    temporary = copy / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    done = tandem("verify", "--targets", "torchserve", cwd=copy)
    assert done.returncode == 1, done.stderr
    assert "digits_cnn.mar ended without a result (exit code 0)" in complaint(done.stderr)

    def left() -> list[psutil.Process]:
        return [p for p in psutil.process_iter(["cmdline"]) if mark in (p.info["cmdline"] or [])]

    assert wait_until(lambda: not left(), 20.0), "its process lives on"
    assert wait_until(lambda: not list(temporary.iterdir()), 20.0), "its folder is left"


def test_what_is_served_is_what_was_proven_whatever_happens_to_the_artifacts_meanwhile(copy):
    """The real server would load a new version, and unload one that is gone."""
    import urllib.request

    with running("serve", "tfserving", "--json", cwd=copy) as process:
        facts = json.loads(process.stdout.readline())
        shutil.rmtree(copy / FOLDER / "tfserving")
        body = (copy / FOLDER / "example-request.json").read_bytes()
        for _ in range(5):
            with urllib.request.urlopen(facts["predict_url"], body, timeout=30) as answer:  # noqa: S310 - loopback
                assert json.load(answer)["predictions"]
            # The server looks for new versions once a second.
            with pytest.raises(Exception, match="timed out"):
                process.wait(0.5)
        process.terminate()
        process.communicate(timeout=60)

"""Files that somebody damaged or forged are refused by their own kind of error, or are what they say."""

import hashlib
import io
import json
import os
import shutil
import signal
import sys
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from file_inputs import FUZZ_S, altered, damaged, tries
from safetensors import SafetensorError
from safetensors.numpy import load, save

from models.checkpoint import CheckpointError, read_tensors
from models.digits_cnn import MODEL
from pipelines.artifacts import manifest as artifact
from pipelines.errors import GateError, RequestError
from pipelines.targets.torchserve.archive import MANIFEST, unpack
from pipelines.verify.proof import PROOF_NAME, read_proof

sys.path.append(str(Path(__file__).parents[1] / "unit"))
from manifest_fixture import manifest_of

__all__ = ["tries"]  # a fixture
pytestmark = [pytest.mark.slow, pytest.mark.timeout(FUZZ_S * 2 + 120)]
TENSORS = {
    "weight": np.arange(12, dtype=np.float32).reshape(3, 4),
    "bias": np.arange(3, dtype=np.float64),
    "half": np.ones((2, 1, 2), np.float16),
    "count": np.array(7),
    "mask": np.array([True, False]),
    "none": np.zeros((0, 3), np.float32),
}


def with_header(content, rng):
    length = int.from_bytes(content[:8], "little")
    header = json.dumps(altered(json.loads(content[8 : 8 + length]), rng)).encode()
    return len(header).to_bytes(8, "little") + header + content[8 + length :]


def test_a_safetensors_file_is_read_as_its_own_library_reads_it_or_is_refused(tries):
    whole = save(TENSORS)
    read_count = 0
    for rng in tries:
        content = damaged(whole, rng) if rng.random() < 0.5 else with_header(whole, rng)
        try:
            found = read_tensors(content)
        except CheckpointError as error:
            assert len(str(error)) < 500
            continue
        read_count += 1
        try:
            theirs = load(content)
        except (SafetensorError, TypeError, AttributeError, ValueError, KeyError):
            continue  # what it does not know, such as BF16 in NumPy
        assert set(found) == set(theirs)
        for name, array in theirs.items():
            assert (found[name].shape, found[name].tobytes()) == (array.shape, array.tobytes())
    assert read_count > 0


def an_archive(manifest, method):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as made:
        made.writestr(MANIFEST, json.dumps(manifest))
        made.writestr("handler.py", "class Handler: pass")
        made.writestr("folder/model.pt", b"x" * 500)
    return file.getvalue()


def test_a_model_archive_stays_in_its_folder_or_is_refused(tries, tmp_path):
    manifest = {
        "model": {"handler": "handler.py", "serializedFile": "folder/model.pt"},
        "specificationVersion": 1,
    }
    whole = [an_archive(manifest, method) for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)]
    path, folder = tmp_path / "m.mar", tmp_path / "folder"
    read_count = 0
    for rng in tries:
        path.write_bytes(
            damaged(rng.choice(whole), rng)
            if rng.random() < 0.8
            else an_archive(altered(manifest, rng), zipfile.ZIP_STORED)
        )
        folder.mkdir()
        try:
            said = unpack(path, folder)
        except GateError as error:
            assert len(str(error)) < 1000
        else:
            read_count += 1
            handler = (folder / said["model"]["handler"]).resolve()
            assert handler.is_file()
            assert handler.is_relative_to(folder.resolve())
        assert sorted(p.name for p in tmp_path.iterdir()) == ["folder", "m.mar"]
        shutil.rmtree(folder)
    assert read_count > 0


@pytest.fixture
def exported(tmp_path):
    """A SavedModel's folder with a manifest that fits, which each try gets a copy of."""
    folder = tmp_path / "whole"
    for name, content in {
        "m/1/saved_model.pb": b"graph" * 9,
        "m/1/variables/v": b"12345",
        "m.txt": b"",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    manifest = manifest_of(folder, "m/1", "m.txt")
    artifact.write_manifest(folder, manifest)
    return folder


def entries(folder):
    """Everything below `folder` and what it is: a digest of a file's content, "" for a folder, else None."""
    found = {}
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(place, name)
            regular = path.is_file() and not path.is_symlink()
            said = hashlib.sha256(path.read_bytes()).hexdigest() if regular else None
            found[path.relative_to(folder).as_posix()] = (
                "" if path.is_dir() and not path.is_symlink() else said
            )
    return found


NAMES = (
    "m/1/x",
    "m/2",
    "m/1/variables/v",
    "m/1/saved_model.pb",
    "m/1",
    "m",
    "m.txt",
    "x",
    "M",
    "m/1/variables/ü",
)


def tamper(folder, rng):
    """One change to the folder."""
    path = folder / rng.choice(NAMES)
    kind = rng.randrange(7)
    if kind < 5 and (path.exists() or path.is_symlink()):
        if rng.random() < 0.5 and path.is_file():
            content = damaged(path.read_bytes(), rng)
            return path.write_bytes(content)
        moved = folder.parent / "moved"
        return path.rename(folder / rng.choice(NAMES)) if rng.random() < 0.3 else path.rename(moved)
    if path.exists() or path.is_symlink() or not path.parent.is_dir():
        return None
    makers = (
        lambda: path.write_bytes(rng.choice((b"", b"12345"))),
        path.mkdir,
        lambda: path.symlink_to(rng.choice(("/etc/hostname", "saved_model.pb", "x", "."))),
        lambda: os.mkfifo(path),
        lambda: os.link(folder / "m/1/saved_model.pb", path),
    )
    return rng.choice(makers)()


def test_what_a_manifest_lets_pass_is_what_lies_in_the_folder(tries, exported, tmp_path):
    def give_up(*_):
        raise AssertionError("it hangs")

    signal.signal(signal.SIGALRM, give_up)
    original, folder, moved = entries(exported), tmp_path / "folder", tmp_path / "moved"
    passed_count = 0
    for rng in tries:
        shutil.copytree(exported, folder)
        for _ in range(rng.choice((0, 1, 1, 1, 2, 4))):
            with suppress(OSError):
                tamper(folder, rng)
            if moved.is_dir() and not moved.is_symlink():
                shutil.rmtree(moved)
            else:
                moved.unlink(missing_ok=True)
        before = entries(folder)
        signal.alarm(20)
        try:
            artifact.require_manifest(folder, MODEL)
        except (GateError, RequestError):
            assert before != original
        else:
            passed_count += 1
            assert before == original
        finally:
            signal.alarm(0)
        shutil.rmtree(folder)
    assert passed_count > 0


def test_a_forged_manifest_names_nothing_but_what_is_there(tries, exported):
    path = exported / artifact.MANIFEST_NAME
    whole, there = path.read_bytes(), entries(exported)
    files = {name: digest for name, digest in there.items() if digest and name != artifact.MANIFEST_NAME}
    passed_count = 0
    for rng in tries:
        said = json.loads(whole)
        path.write_bytes(
            damaged(whole, rng) if rng.random() < 0.4 else json.dumps(altered(said, rng)).encode()
        )
        try:
            manifest = artifact.require_manifest(exported, MODEL)
        except (GateError, RequestError) as error:
            assert len(str(error)) < 3000
            continue
        passed_count += 1
        assert manifest.files == files
        assert {a.path for a in manifest.artifacts} == {"m/1", "m.txt"}
    assert passed_count > 0


def test_a_forged_proof_is_read_or_is_none(tries, tmp_path):
    proof = {
        "model_digest": MODEL.digest,
        "artifacts": {"tfserving": {"m/1": "float32 0"}},
        "question_sha256": "0" * 64,
        "accuracy": 0.5,
        "records": {"tfserving": []},
        "source_outputs": [[0.5, 1.0]],
    }
    for rng in tries:
        text = json.dumps(altered(proof, rng)).encode()
        (tmp_path / PROOF_NAME).write_bytes(damaged(text, rng) if rng.random() < 0.5 else text)
        read_proof(tmp_path)

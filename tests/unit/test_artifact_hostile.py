"""Folders that somebody else prepared: what the manifest does not list is refused and never opened."""

import json
import os
import signal
import socket
from contextlib import contextmanager

import pytest
from manifest_fixture import manifest_of

from models.digits_cnn import MODEL
from pipelines.artifacts import contents
from pipelines.artifacts import manifest as artifact
from pipelines.errors import GateError
from pipelines.export import stage as exporting
from pipelines.files.atomic import locked
from pipelines.files.regular import open_regular, read_regular, sha256_of_file
from pipelines.targets.registry import TORCHSERVE
from pipelines.verify import proof


@pytest.fixture
def exported(tmp_path):
    folder = tmp_path / "tfserving"
    for name, content in {"m/1/saved_model.pb": b"graph", "m/1/variables/v": b"12345"}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    manifest = manifest_of(folder, "m/1")
    artifact.write_manifest(folder, manifest)
    return folder


@contextmanager
def at_most(seconds):
    """Opening a FIFO would wait for ever: then this test fails."""

    def give_up(*_):
        raise AssertionError("it hangs")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def a_socket(path):
    with socket.socket(socket.AF_UNIX) as made:
        # Its name is short whatever the test's folder is called.
        before = os.open(".", os.O_RDONLY)
        try:
            os.chdir(path.parent)
            made.bind(path.name)
        finally:
            os.fchdir(before)
            os.close(before)


SURPLUS = {
    "m/2": lambda path: path.mkdir(),
    "m/2/saved_model.pb": lambda path: (path.parent.mkdir(), path.write_bytes(b"another")),
    "m/1/assets": lambda path: path.mkdir(),
    "m/1/variables/w": lambda path: path.write_bytes(b""),
    "n": lambda path: path.symlink_to("/etc"),
    "m/3": lambda path: path.symlink_to("1"),
    "m/1/fifo": os.mkfifo,
    "m/1/socket": a_socket,
    "m/1/dangling": lambda path: path.symlink_to("nowhere"),
    "m/1/loop": lambda path: path.symlink_to("loop"),
    "M/1": lambda path: path.mkdir(parents=True),
    "m/1/saved_model.pb\n": lambda path: path.write_bytes(b"graph"),
    "m/1/saved_mode\u0142.pb": lambda path: path.write_bytes(b"graph"),
    ".hidden": lambda path: path.write_bytes(b""),
    os.fsdecode(b"m/1/\xff\xfe"): lambda path: path.write_bytes(b""),
}


@pytest.mark.parametrize("name", SURPLUS)
def test_what_the_manifest_does_not_list_is_refused_by_name(exported, monkeypatch, name):
    SURPLUS[name](exported / name)
    with at_most(10):
        with pytest.raises(GateError) as caught:
            artifact.require_manifest(exported, MODEL)
        monkeypatch.setattr(exporting, "_key", lambda *_: "key")
        with pytest.raises(GateError):
            exporting._reason(MODEL, exported, TORCHSERVE, False)
    first = "M" if name == "M/1" else "m/2" if name == "m/2/saved_model.pb" else name
    assert f"does not list {exported / first}" in str(caught.value)
    assert f"`tandem export digits_cnn --artifacts {exported.parents[1]} --force`" in str(caught.value)
    assert exporting._reason(MODEL, exported, TORCHSERVE, True) == "asked for with --force"


LISTED = {
    "a symbolic link": lambda path: path.symlink_to("/etc/hostname"),
    "a FIFO": os.mkfifo,
    "a socket": a_socket,
    "a folder": lambda path: path.mkdir(),
}


@pytest.mark.parametrize("kind", LISTED)
def test_a_listed_name_that_is_no_regular_file_is_refused_and_never_opened(exported, kind):
    path = exported / "m/1/variables/v"
    path.unlink()
    LISTED[kind](path)
    with at_most(10), pytest.raises(GateError, match=rf"variables/v \({kind}\)"):
        artifact.require_manifest(exported, MODEL)


def test_a_linked_folder_of_a_saved_model_is_refused_though_its_content_is_right(exported, tmp_path):
    (exported / "m/1/variables").rename(tmp_path / "elsewhere")
    (exported / "m/1/variables").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(GateError, match=r"m/1/variables \(a symbolic link\)"):
        artifact.require_manifest(exported, MODEL)


def test_a_linked_target_folder_is_refused(exported, tmp_path):
    exported.rename(tmp_path / "elsewhere")
    exported.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(GateError, match="is a symbolic link"):
        artifact.require_manifest(exported, MODEL)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes devices")
def test_a_device_is_refused_and_never_opened(exported):
    path = exported / "m/1/variables/v"
    path.unlink()
    try:
        os.mknod(path, 0o600 | 0o020000, os.makedev(1, 5))  # /dev/zero, which never ends
    except OSError:
        pytest.skip("devices cannot be made here")
    with at_most(10), pytest.raises(GateError, match=r"v \(a device\)"):
        artifact.require_manifest(exported, MODEL)


def edit(folder, change):
    path = folder / artifact.MANIFEST_NAME
    said = json.loads(path.read_bytes())
    change(said)
    path.write_text(json.dumps(said))


def outside(said, path):
    said["artifacts"][0]["path"] = path
    said["files"] = {f"{path}/f": "0" * 64}
    said["artifacts"][0]["sha256"] = contents.digest_of({"f": "0" * 64})


MANIFESTS = {
    "no artifact": lambda said: said.update(artifacts=[], files={}),
    "twice": lambda said: said["artifacts"].append(said["artifacts"][0]),
    "one inside the other": lambda said: said["artifacts"].append(
        said["artifacts"][0]
        | {"path": "m/1/variables/v", "sha256": said["files"]["m/1/variables/v"], "size_bytes": 5}
    ),
    "a file of no artifact": lambda said: said["files"].update({"m/2/saved_model.pb": "0" * 64}),
    "a digest of other files": lambda said: said["artifacts"][0].update(sha256="0" * 64),
    "an artifact without files": lambda said: said["artifacts"].append(
        said["artifacts"][0] | {"path": "m/4", "sha256": contents.digest_of({}), "size_bytes": 0}
    ),
    "absolute": lambda said: outside(said, "/etc"),
    "climbing": lambda said: outside(said, "../../elsewhere"),
    "written twice over": lambda said: outside(said, "m//1"),
    "dotted": lambda said: outside(said, "./m"),
    "itself": lambda said: (
        said["artifacts"][0].update(path="manifest.json", sha256="0" * 64),
        said.update(files={"manifest.json": "0" * 64}),
    ),
}


@pytest.mark.parametrize("name", MANIFESTS)
def test_a_manifest_that_contradicts_itself_or_leaves_its_folder_is_refused(exported, name):
    edit(exported, MANIFESTS[name])
    with at_most(10), pytest.raises(GateError, match="is no manifest"):
        artifact.require_manifest(exported, MODEL)


@pytest.mark.parametrize(
    "content",
    [
        b'{"key": 1' + b"0" * 10_000 + b"}",
        b"[" * 100_000,
        b'{"key": "\\ud800"}',
        b"\xff\xfe",
        b"\x00" * 1000,
    ],
    ids=["gigantic number", "deep", "lone surrogate", "no UTF-8", "zeros"],
)
def test_a_manifest_that_is_no_json_is_one_line(exported, content):
    (exported / artifact.MANIFEST_NAME).write_bytes(content)
    with pytest.raises(GateError, match="is no manifest"):
        artifact.require_manifest(exported, MODEL)


@pytest.mark.parametrize("kind", LISTED)
def test_a_manifest_that_is_no_regular_file_is_refused(exported, kind):
    path = exported / artifact.MANIFEST_NAME
    path.unlink()
    LISTED[kind](path)
    with at_most(10), pytest.raises(GateError, match=rf"manifest\.json is {kind}"):
        artifact.require_manifest(exported, MODEL)


@pytest.mark.parametrize("kind", LISTED)
def test_a_proof_that_is_no_regular_file_is_no_proof(tmp_path, kind):
    LISTED[kind](tmp_path / proof.PROOF_NAME)
    with at_most(10):
        assert proof.read_proof(tmp_path) is None


def test_a_sparse_file_without_end_is_not_read(exported):
    with (exported / "m/1/variables/v").open("r+b") as file:
        file.truncate(2**42)
    with at_most(10), pytest.raises(GateError, match="4398046511109 bytes, its manifest says 10"):
        artifact.require_manifest(exported, MODEL)


@pytest.mark.slow
def test_ten_thousand_surplus_files_are_counted_not_listed(exported):
    for number in range(10_000):
        os.close(os.open(exported / f"m/1/{number:06}", os.O_CREAT | os.O_WRONLY))
    with at_most(6), pytest.raises(GateError, match="and 9997 more") as caught:
        artifact.require_manifest(exported, MODEL)
    assert len(str(caught.value)) < 1000


def test_a_hard_link_is_a_file_like_any_other(exported, tmp_path):
    os.link(exported / "m/1/variables/v", tmp_path / "another-name")
    assert artifact.require_manifest(exported, MODEL)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permissions_is_one_line(exported):
    (exported / "m/1/variables/v").chmod(0)
    with pytest.raises(GateError, match="cannot be read: Permission denied"):
        artifact.require_manifest(exported, MODEL)


def test_reading_has_a_limit(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"x" * 11)
    with pytest.raises(GateError, match="more than 10 bytes"):
        read_regular(path, 10)
    assert read_regular(path, 11) == b"x" * 11


def test_a_name_that_became_a_link_after_it_was_looked_at_is_not_followed(tmp_path, monkeypatch):
    path, other = tmp_path / "file", tmp_path / "other"
    other.write_bytes(b"secret")
    path.symlink_to(other)
    seen_before = other.stat()
    monkeypatch.setattr(type(path), "lstat", lambda _: seen_before)
    with pytest.raises(GateError, match="cannot be read"):
        open_regular(path)


def test_a_files_digest_does_not_depend_on_the_size_of_the_pieces(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(bytes(range(256)) * 10)
    whole = sha256_of_file(path)
    monkeypatch.setattr("pipelines.files.regular.CHUNK_BYTES", 7)
    assert sha256_of_file(path) == whole


def test_a_lock_file_that_is_a_link_is_not_followed_and_its_target_keeps_its_content(tmp_path):
    (tmp_path / "important").write_text("content")
    (tmp_path / ".lock").symlink_to("important")
    with pytest.raises(Exception, match="cannot write"), locked(tmp_path / ".lock", lambda: None):
        pass
    assert (tmp_path / "important").read_text() == "content"


def test_a_lock_file_that_is_a_fifo_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / ".lock")
    with at_most(10), locked(tmp_path / ".lock", lambda: None):
        pass

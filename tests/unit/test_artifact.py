import dataclasses
import gzip
import hashlib
import shlex
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.digits_cnn import MODEL
from pipelines.artifacts import contents
from pipelines.artifacts import manifest as artifact
from pipelines.errors import GateError, RequestError
from pipelines.export.stage import _reason
from pipelines.targets.registry import TARGETS, TFLITE, TORCHSERVE

names = st.dictionaries(st.sampled_from(["a", "b", "c/d", "c/e", "f"]), st.binary(max_size=8), max_size=5)


def make_folder(path, files):
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    path.mkdir(exist_ok=True)
    return path


def describe(folder, name):
    path = folder / name
    return artifact.ArtifactRecord(
        target="torchserve",
        path=name,
        format="torchscript",
        precision="float32",
        variant=None,
        size_bytes=contents.size_bytes(path),
        gzip_bytes=contents.gzip_bytes(path),
        sha256=contents.sha256(path),
        export_s=1.5,
        toolchain={"torch": "2.13.0"},
    )


@pytest.fixture
def exported(tmp_path):
    """A target's folder with a file and a folder artifact, and a manifest that fits."""
    make_folder(tmp_path, {"m.pt": b"x" * 100, "m/1/saved_model.pb": b"graph", "m/1/variables/v": b"12345"})
    manifest = artifact.Manifest(
        key="key",
        model="digits_cnn",
        model_digest=MODEL.digest,
        target="torchserve",
        artifacts=(describe(tmp_path, "m.pt"), describe(tmp_path, "m/1")),
        not_exported=(),
        files=contents.file_digests(tmp_path, ["m.pt", "m/1"]),
    )
    artifact.write_manifest(tmp_path, manifest)
    return tmp_path


@settings(max_examples=40)
@given(one=names, other=names)
def test_folders_share_a_digest_only_with_the_same_names_and_contents(tmp_path_factory, one, other):
    folders = [make_folder(tmp_path_factory.mktemp("f"), files) for files in (one, other)]
    digests = [contents.sha256(folder) for folder in folders]
    assert (digests[0] == digests[1]) is (one == other)


@pytest.mark.parametrize(("one", "other"), [("a", "b"), ("c/d", "d"), ("c/d", "e/d")])
def test_the_same_content_under_another_name_has_another_digest(tmp_path, one, other):
    first, second = make_folder(tmp_path / "1", {one: b"x"}), make_folder(tmp_path / "2", {other: b"x"})
    assert contents.sha256(first) != contents.sha256(second)


def test_renaming_a_file_changes_the_folders_digest(tmp_path):
    folder = make_folder(tmp_path / "m", {"a": b"1", "b": b"2"})
    before = contents.sha256(folder)
    (folder / "a").rename(folder / "c")
    assert contents.sha256(folder) != before


def test_swapping_two_files_changes_the_folders_digest(tmp_path):
    one = make_folder(tmp_path / "one", {"a": b"1", "b": b"2"})
    two = make_folder(tmp_path / "two", {"a": b"2", "b": b"1"})
    assert contents.sha256(one) != contents.sha256(two)


def test_moving_bytes_from_one_file_to_the_next_changes_the_digest(tmp_path):
    one = make_folder(tmp_path / "one", {"a": b"12", "b": b"3"})
    two = make_folder(tmp_path / "two", {"a": b"1", "b": b"23"})
    assert contents.sha256(one) != contents.sha256(two)


def test_the_digest_does_not_depend_on_the_folders_own_name(tmp_path):
    files = {"a": b"1", "c/d": b"2"}
    assert contents.sha256(make_folder(tmp_path / "x", files)) == contents.sha256(
        make_folder(tmp_path / "y", files)
    )


def test_a_files_digest_is_the_plain_sha256(tmp_path):
    path = tmp_path / "m.pt"
    path.write_bytes(b"abc")
    assert contents.sha256(path) == hashlib.sha256(b"abc").hexdigest()


def test_sizes_are_sums_over_all_files(tmp_path):
    texts = [b"a" * 1000, b"b" * 10, b""]
    folder = make_folder(tmp_path / "m", {"a": texts[0], "c/d": texts[1], "c/e": texts[2]})
    assert contents.size_bytes(folder) == 1010
    assert contents.gzip_bytes(folder) == sum(len(gzip.compress(c, 9, mtime=0)) for c in texts)
    assert contents.size_bytes(folder / "a") == 1000
    assert contents.gzip_bytes(folder / "a") < 100


def test_a_manifest_comes_back_as_it_was_written(exported):
    manifest = artifact.require_manifest(exported, MODEL)
    assert [a.path for a in manifest.artifacts] == ["m.pt", "m/1"]
    assert artifact.damage(exported, manifest) is None


@pytest.mark.parametrize("text", ["", '{"key": "x"', "null", '{"key": "k", "surplus": 1}'])
def test_a_damaged_manifest_is_a_failed_check_and_a_reason_to_export(exported, text):
    (exported / artifact.MANIFEST_NAME).write_text(text)
    with pytest.raises(GateError, match=r"manifest\.json is no manifest"):
        artifact.require_manifest(exported, MODEL)
    assert "is no manifest" in _reason(MODEL, exported, TORCHSERVE, False)


def test_an_empty_folder_holds_nothing_exported(tmp_path):
    assert artifact.read_manifest(tmp_path) is None
    with pytest.raises(RequestError, match="holds no exported artifacts"):
        artifact.require_manifest(tmp_path / "none", MODEL)


def test_a_truncated_artifact_is_named(exported):
    (exported / "m.pt").write_bytes(b"x" * 40)
    with pytest.raises(GateError) as caught:
        artifact.require_manifest(exported, MODEL)
    said = str(caught.value)
    assert "m.pt has 40 bytes" in said
    assert "says 100" in said
    assert f"corrupt; run `tandem export digits_cnn --artifacts {exported.parents[1]} --force`" in said


@pytest.mark.parametrize(
    ("typed", "root", "command"),
    [
        (None, "artifacts", "tandem export digits_cnn"),
        ("my_model.py", "artifacts", "tandem export my_model.py"),
        ("../a b/it's.py", "out put", "tandem export '../a b/it'\"'\"'s.py' --artifacts 'out put'"),
    ],
)
def test_a_hint_names_what_was_typed_as_a_shell_takes_it(typed, root, command):
    spec = dataclasses.replace(MODEL, origin=None if typed is None else Path(typed))
    assert artifact.export_command(spec, Path(root) / "digits_cnn" / "torchserve") == command
    given = ["digits_cnn" if typed is None else typed, *(["--artifacts", root] * (root != "artifacts"))]
    assert shlex.split(command) == ["tandem", "export", *given]


def test_one_flipped_bit_is_noticed(exported):
    (exported / "m/1/variables/v").write_bytes(b"12344")
    with pytest.raises(GateError, match=r"m/1/variables/v has sha256"):
        artifact.require_manifest(exported, MODEL)


@pytest.mark.parametrize("gone", ["m.pt", "m/1/saved_model.pb", "m/1/variables/v"])
def test_a_missing_file_is_noticed(exported, gone):
    (exported / gone).unlink()
    with pytest.raises(GateError, match=f"{gone} is missing"):
        artifact.require_manifest(exported, MODEL)


def test_a_file_too_many_in_an_artifact_is_noticed(exported):
    (exported / "m/1/extra").touch()
    with pytest.raises(GateError, match=r"does not list .*m/1/extra,"):
        artifact.require_manifest(exported, MODEL)


def test_artifacts_of_another_state_of_the_model_are_refused(exported, tmp_path):
    changed = dataclasses.replace(MODEL, labels=tuple("9876543210"))
    with pytest.raises(RequestError, match=r"another state of digits_cnn .*; run `tandem export digits_cnn "):
        artifact.require_manifest(exported, changed)


def test_versions_leave_out_what_is_not_installed():
    found = artifact.versions(["pytest", "no-such-distribution"])
    assert list(found) == ["pytest"]
    assert found["pytest"] == pytest.__version__


def test_the_export_key_changes_with_model_tools_and_exporter(tmp_path):
    source = tmp_path / "export.py"
    source.write_text("1")
    tools = {"torch": "2.13.0", "keras": "3"}
    key = artifact.export_key(MODEL, tools, [source])
    assert key == artifact.export_key(MODEL, dict(reversed(tools.items())), [source])
    assert key != artifact.export_key(MODEL, tools | {"torch": "2.13.1"}, [source])
    assert key != artifact.export_key(dataclasses.replace(MODEL, labels=()), tools, [source])
    source.write_text("2")
    assert key != artifact.export_key(MODEL, tools, [source])


def test_the_export_key_covers_the_twins_code(tmp_path):
    assert {path.name for path in MODEL.code} >= {"torch_model.py", "keras_model.py", "data.py"}
    twin = tmp_path / "keras_model.py"
    twin.write_bytes(b"1")
    spec = dataclasses.replace(MODEL, sources=(twin,))
    before = artifact.export_key(spec, {}, [])
    twin.write_bytes(b"2")
    assert artifact.export_key(dataclasses.replace(spec), {}, []) != before


def test_the_archives_handler_is_part_of_what_torchserve_exports():
    assert [path.name for path in TORCHSERVE.sources] == [
        "archive.py",
        "export.py",
        "handler.py",
        "tandem_bodies.py",
        "tracing.py",
    ]
    assert all(path.is_file() for target in TARGETS.values() for path in target.sources)


def test_the_frozen_function_is_part_of_what_tflite_exports():
    assert "tfserving" in {path.parent.name for path in TFLITE.sources}


def test_the_weight_transforms_are_part_of_what_both_tensorflow_targets_export():
    assert all("weights.py" in {path.name for path in TARGETS[n].sources} for n in ("tfserving", "tflite"))


def test_export_says_why_it_exports_again(exported, monkeypatch):
    manifest = artifact.read_manifest(exported)
    assert _reason(MODEL, exported / "none", TORCHSERVE, False) == "not exported yet"
    assert "changed" in _reason(MODEL, exported, TORCHSERVE, False)
    monkeypatch.setattr("pipelines.export.stage._key", lambda *_: manifest.key)
    assert _reason(MODEL, exported, TORCHSERVE, False) is None
    assert _reason(MODEL, exported, TORCHSERVE, True) == "asked for with --force"
    (exported / "m.pt").unlink()
    assert _reason(MODEL, exported, TORCHSERVE, False) == f"{exported / 'm.pt'} is missing"


def test_zstd_bytes_are_what_the_codec_gives_file_by_file(tmp_path):
    import pyarrow

    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "a").write_bytes(b"weights" * 1000)
    (tmp_path / "m" / "b").write_bytes(bytes(range(256)))
    codec = pyarrow.Codec("zstd", compression_level=19)
    sizes = [len(codec.compress(file.read_bytes(), asbytes=True)) for file in (tmp_path / "m").iterdir()]
    assert contents.zstd_bytes(tmp_path / "m") == sum(sizes)
    assert contents.zstd_bytes(tmp_path / "m" / "a") < 100

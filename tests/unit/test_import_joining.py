"""One signature from several files, the samples for it, and the record of both."""

import hashlib
import json
import zipfile

import click
import numpy as np
import pytest
from click.testing import CliRunner

from models import given
from models.errors import ModelError
from models.given import Given, GivenFile, folder_of, parts_of_spec, read_given
from models.signature import TensorSpec
from models.spec import load_model
from models.tensors import is_ragged
from pipelines.cli import options
from pipelines.cli.importing import import_files
from pipelines.cli.main import tandem
from pipelines.errors import GateError, RequestError
from pipelines.imported import placement
from pipelines.imported.saved_model import Read, Tensor
from pipelines.importing import file_facts, stage
from pipelines.importing.joint_signature import join
from pipelines.importing.samples import fitted, random_samples, read_samples, shaped
from pipelines.report.sentences import say
from pipelines.run import warnings
from pipelines.serve import stage as serving
from pipelines.smoke import stage as smoking
from pipelines.targets.presets import resolve
from pipelines.targets.torchserve.archive import MANIFEST
from pipelines.targets.torchserve.export import HANDLER
from pipelines.tasks.tasks import Outcome

ROW = (None, 4)


def tensors(*named, dtype="float32", shape=ROW):
    return [Tensor(name, dtype, shape) for name in named]


def test_names_that_agree_decide_whatever_the_order():
    joined = join("input", {"torchscript": tensors("b", "a"), "onnx": tensors("a", "b")}, "torchscript")
    assert [one.name for one in joined.tensors] == ["b", "a"]
    assert joined.own["onnx"] == {"b": "b", "a": "a"}


def test_a_saved_models_names_are_the_models_for_they_are_in_requests():
    found = {"torchscript": tensors("x"), "saved_model": tensors("image"), "onnx": tensors("input.1")}
    joined = join("input", found, "torchscript")
    assert [one.name for one in joined.tensors] == ["image"]
    assert joined.own == {
        "torchscript": {"image": "x"},
        "saved_model": {"image": "image"},
        "onnx": {"image": "input.1"},
    }


def test_shapes_decide_where_names_do_not_and_order_where_neither_does():
    picture, table = Tensor("p", "float32", (None, 8, 8)), Tensor("t", "float32", ROW)
    found = {
        "onnx": [picture, table],
        "tflite": [Tensor("a", "float32", (1, 4)), Tensor("b", "float32", (1, 8, 8))],
    }
    assert join("input", found, "onnx").own["tflite"] == {"p": "b", "t": "a"}
    alike = {"onnx": tensors("a", "b"), "tflite": tensors("c", "d")}
    assert join("input", alike, "onnx").own["tflite"] == {"a": "c", "b": "d"}


def test_sizes_that_one_file_fixes_are_the_models_and_what_no_file_says_is_not_known():
    found = {"onnx": tensors("x", shape=(None, None, 3)), "tflite": tensors("x", shape=(1, 7, 3))}
    assert join("input", found, "onnx").tensors[0].shape == (None, 7, 3)
    unknown = join("input", {"torchscript": [Tensor("x", None, None)]}, "torchscript").tensors[0]
    assert (unknown.dtype, unknown.shape) == (None, None)


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        (tensors("x"), tensors("x", "y"), r"the onnx has 1 input \(x\), the tflite has 2 inputs \(x, y\)"),
        (tensors("x"), tensors("x", shape=(1, 5)), r"the onnx \(4,\), the tflite \(5,\); these are not"),
        (tensors("x"), tensors("x", shape=(1, 4, 1)), "different shapes"),
        (tensors("x"), tensors("x", dtype="int64"), "the onnx float32, the tflite int64"),
        (
            tensors("x", shape=(None, 3, 8, 8)),
            tensors("x", shape=(1, 8, 8, 3)),
            "channels first and another last: save them with one layout",
        ),
        (tensors("x", dtype="string"), tensors("x", dtype="string"), "the onnx has string at its input 'x'"),
        (tensors("x", shape=(8, 4)), tensors("x"), "made for a batch of 8"),
        (tensors("x", shape=()), tensors("x"), "a single number"),
    ],
)
def test_files_that_cannot_be_one_model_are_refused_with_both_sides(first, second, said):
    with pytest.raises(GateError, match=said):
        join("input", {"onnx": first, "tflite": second}, "onnx")


@pytest.mark.parametrize(
    ("own", "named"),
    [
        (["serving_default_x:0"], ["x"]),
        (["StatefulPartitionedCall:0"], ["output"]),
        (["input.1", "input.2"], ["input_1", "input_2"]),
        (["1x", "2x"], ["output_0", "output_1"]),
    ],
)
def test_names_that_a_spec_cannot_have_are_made_ones_it_can(own, named):
    assert [one.name for one in join("output", {"tflite": tensors(*own)}, "tflite").tensors] == named


NAMES = [{"image": "x", "table": "y"}, {"image": "serving_x", "table": "serving_y"}]


def test_samples_go_by_any_files_names_and_bring_labels(tmp_path):
    image, table, labels = np.zeros((3, 2)), np.ones((3, 4), np.float32), np.arange(3)
    np.savez(tmp_path / "a.npz", serving_x=image, table=table, labels=labels)
    found = fitted(read_samples(tmp_path / "a.npz", NAMES), [Tensor("image", "float32", (None, 2))])
    assert found["image"].dtype == np.float32
    np.testing.assert_array_equal(found[given.LABELS], labels)


def test_the_only_array_is_the_only_input(tmp_path):
    np.save(tmp_path / "a.npy", np.ones((3, 4), np.float32))
    np.savez(tmp_path / "a.npz", whatever=np.ones((3, 4), np.float32))
    for name in ("a.npy", "a.npz"):
        assert read_samples(tmp_path / name, [{"image": "x"}])["image"].shape == (3, 4)


def test_samples_that_differ_in_shape_leave_their_size_open(tmp_path):
    np.savez(tmp_path / "a.npz", **{"x.0": np.ones(3, np.int64), "x.1": np.ones(5, np.int64)})
    found = read_samples(tmp_path / "a.npz", [{"x": "x"}])
    assert is_ragged(found["x"])
    assert shaped([Tensor("x", None, None)], found) == (Tensor("x", "int64", (None, None)),)


def test_a_name_of_an_input_is_no_sample_of_another_input(tmp_path):
    own = [{"left": "input", "right": "input.1"}]
    many, one = {"input": np.zeros((3, 2)), "input.1": np.ones((3, 4))}, np.zeros((1, 2))
    np.savez(tmp_path / "a.npz", **many)
    np.savez(tmp_path / "b.npz", **{"input.0": one[0], "input.1.0": one[0]})
    assert [array.shape for array in read_samples(tmp_path / "a.npz", own).values()] == [(3, 2), (3, 4)]
    assert [array.shape for array in read_samples(tmp_path / "b.npz", own).values()] == [(1, 2), (1, 2)]


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"image": np.zeros((3, 2)), "other": np.zeros((3, 2))}, "has an array 'other'"),
        ({"image": np.zeros((3, 2)), "labels": np.zeros(3)}, "nothing for the input 'table'"),
        ({"image": np.zeros((3, 2)), "table": np.zeros((4, 2))}, "the same number of samples"),
        ({"image": np.zeros((0, 2)), "table": np.zeros((0, 2))}, "above 0"),
    ],
)
def test_samples_that_do_not_fit_are_refused_by_name(tmp_path, arrays, said):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(RequestError, match=said):
        read_samples(tmp_path / "a.npz", NAMES)


def test_random_samples_are_the_same_every_time_and_of_two_lengths():
    wanted = [Tensor("x", "float32", (None, None)), Tensor("mask", "bool", (None, None))]
    one, again = random_samples(wanted), random_samples(wanted)
    assert {array.shape for array in one["x"]} == {(8,), (5,)}
    assert all(a.shape == b.shape for a, b in zip(one["x"], one["mask"], strict=True))
    assert all(np.array_equal(a, b) for a, b in zip(one["x"], again["x"], strict=True))


def file(kind, **said):
    path = f"model.{kind}"
    return GivenFile(kind, path, f"from/{path}", "", 1, "float32", {"x": "x"}, {"y": "y"}, **said)


def test_the_reference_is_the_program_else_the_first_in_float32_else_the_first():
    def reads(**precisions):
        return {kind: Read((), (), precision, 1) for kind, precision in precisions.items()}

    def reference(**precisions):
        return stage._reference([file(kind) for kind in precisions], reads(**precisions))

    assert reference(onnx="float32", pt2="float32") == "pt2"
    assert reference(tflite="int8", onnx="float32", torchscript="float32") == "onnx"
    assert reference(tflite="int8", onnx="float16") == "tflite"


def test_shapes_are_tried_of_programs_alone_and_asked_for_of_other_files(tmp_path, monkeypatch):
    monkeypatch.setattr(stage, "run_tasks", lambda *_: [Outcome([("int64", (None, 5))], 1.0)])

    def guessed(kind):
        inputs = join("input", {kind: [Tensor("x", "float32", None)]}, kind)
        return stage._guessed(tmp_path, [file(kind)], kind, inputs, print)

    for kind in ("saved_model", "onnx"):
        with pytest.raises(
            RequestError, match=rf"{kind} does not say the shape of its input 'x'; give --samp"
        ):
            guessed(kind)
    for kind in ("torchscript", "mar"):
        assert guessed(kind) == (Tensor("x", "int64", (None, 5)),)


@pytest.mark.parametrize("ours", [True, False])
def test_an_archive_with_our_handler_says_its_names_dtypes_and_shapes(tmp_path, monkeypatch, ours):
    entries = {
        MANIFEST: json.dumps({"model": {"handler": "h.py", "serializedFile": "net.pt"}}),
        "h.py": HANDLER.read_bytes() if ours else b"class Handler: ...",
        "net.pt": b"",
        "signature.json": json.dumps(
            {
                "inputs": [{"name": "image", "dtype": "uint8", "shape": [8, None]}],
                "outputs": [{"name": name, "dtype": "int64", "shape": []} for name in ("choice", "amount")],
            }
        ),
    }
    with zipfile.ZipFile(tmp_path / "a.mar", "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    program = Read((Tensor("x", None, None),), None, "float16", 7)
    monkeypatch.setattr(file_facts, "_program", lambda _: program)
    outputs = Tensor("choice", "int64", (None,)), Tensor("amount", "int64", (None,))
    signed = Read((Tensor("image", "uint8", (None, 8, None)),), outputs, "float16", 7)
    assert file_facts.READERS["mar"](tmp_path / "a.mar") == (signed if ours else program)


def write_import(root, *files, reference="onnx", random=True):
    """An import on disk, of files with nothing in them."""
    folder = root / given.FOLDER
    folder.mkdir(parents=True)
    known = []
    for one in files:
        (folder / one.path).write_bytes(one.kind.encode())
        digest = given.digest_of_path(folder / one.path)
        known.append(GivenFile(**{**vars(one), "sha256": digest}))
    imported = Given(folder, tuple(known), reference, random, 7)
    signature = (TensorSpec("x", "float32", ROW),), (TensorSpec("y", "float32", (None, 3)),)
    text = given.write_record(imported, root.name, signature, stage.TOLERANCE)
    (folder / given.RECORD).write_text(text)
    np.savez(folder / given.SAMPLES, **{"x.all": np.ones((5, 4), np.float32)})
    return folder


def test_an_imported_model_is_found_by_its_name_and_is_what_was_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = write_import(tmp_path / "artifacts" / "net", file("onnx"), file("tflite"))
    spec = load_model("net")
    assert (spec.name, spec.argument, len(spec.samples())) == ("net", "net", 5)
    assert spec.digest == load_model("artifacts/net").digest == load_model(str(folder.parent)).digest
    assert load_model(str(folder.parent)).argument == str(folder.parent)
    assert read_given(folder).referred.kind == "onnx"
    assert folder_of("other") is None


def test_imports_are_listed_also_damaged_ones(tmp_path):
    write_import(tmp_path / "net", file("onnx"), file("tflite"))
    broken = write_import(tmp_path / "broken", file("onnx"))
    (broken / given.RECORD).write_text("{}")
    done = CliRunner().invoke(tandem, ["models", "--json", "--artifacts", str(tmp_path)])
    listed = {one["name"]: one for one in json.loads(done.stdout)}
    assert done.exit_code == 0
    assert listed["net"]["imported"] == ["onnx", "tflite"]
    assert listed["digits_cnn"]["imported"] is None
    assert str(broken) in listed["broken"]["error"]
    assert CliRunner().invoke(tandem, ["models", "--artifacts", str(tmp_path)]).exit_code == 0


def test_a_file_that_is_not_what_was_imported_is_refused(tmp_path):
    folder = write_import(tmp_path / "net", file("onnx"))
    (folder / "model.onnx").write_bytes(b"another")
    with pytest.raises(ModelError, match=r"model\.onnx has sha256 .*imported from from/model\.onnx"):
        _ = load_model(str(tmp_path / "net")).digest


@pytest.mark.parametrize("change", [b"another", None])
def test_a_program_taken_out_of_an_archive_that_is_not_what_was_imported_is_refused(tmp_path, change):
    content = b"a program"
    sha256 = hashlib.sha256(content).hexdigest()
    archive = file("mar", program="archive.pt", program_sha256=sha256)
    program = write_import(tmp_path / "net", archive, reference="mar") / "archive.pt"
    program.write_bytes(content)
    assert load_model(str(tmp_path / "net")).digest
    program.unlink()
    if change is not None:
        program.write_bytes(change)
    with pytest.raises(ModelError, match=r"archive\.pt .*imported from from/model\.mar"):
        _ = load_model(str(tmp_path / "net")).digest


def test_an_import_that_did_not_record_its_program_says_to_import_again(tmp_path):
    folder = write_import(tmp_path / "net", file("mar", program="archive.pt"), reference="mar")
    (folder / "archive.pt").write_bytes(b"a program")
    record = json.loads((folder / given.RECORD).read_text())
    del record["files"][0]["program_sha256"]
    (folder / given.RECORD).write_text(json.dumps(record))
    with pytest.raises(ModelError, match=r"archive\.pt has no sha256 .* import the files again"):
        _ = load_model(str(tmp_path / "net")).digest


@pytest.mark.parametrize(
    "change",
    [
        {"schema_version": 99},
        {"files": []},
        {"reference": "tflite"},
        {"files": [{**vars(file("onnx")), "path": "../../etc/passwd"}]},
        {"inputs": [{"name": "x"}]},
    ],
)
def test_a_damaged_record_is_one_line(tmp_path, change):
    folder = write_import(tmp_path / "net", file("onnx"))
    said = json.loads((folder / given.RECORD).read_text()) | change
    (folder / given.RECORD).write_text(json.dumps(said))
    with pytest.raises(ModelError, match="is no record of an import"):
        parts_of_spec(folder)


def test_random_samples_and_the_reference_are_said_wherever_notes_are(tmp_path):
    folder = write_import(tmp_path / "random", file("onnx"))
    assert len(read_given(folder).notes) == 2
    assert len(read_given(write_import(tmp_path / "real", file("onnx"), random=False)).notes) == 1


def test_a_target_is_made_of_its_own_file_or_of_the_program_or_says_what_is_missing(tmp_path):
    write_import(tmp_path / "both", file("torchscript"), file("onnx"), reference="torchscript")
    write_import(tmp_path / "one", file("onnx"))
    both, one = (load_model(str(tmp_path / name)) for name in ("both", "one"))
    assert [f.kind for f in placement.files_for(both, "torchserve")] == ["torchscript"]
    assert [placement.is_exported(both, name) for name in ("onnx", "tflite")] == [False, True]
    assert [placement.is_exported(one, name) for name in ("onnx", "tflite")] == [False, False]
    with pytest.raises(ModelError, match=r"imported as onnx; import a file for it .--tflite., or a program"):
        placement.place(one, "tflite", tmp_path, print)


def request(tmp_path, name="net", files=None, *, force=False):
    return stage.ImportRequest(name, files or {"onnx": tmp_path / "a.onnx"}, tmp_path, force=force)


def test_a_name_that_is_taken_or_none_is_refused_before_anything_is_copied(tmp_path):
    write_import(tmp_path / "net", file("onnx"))
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "model.json").write_text("{}")
    for name, said in (
        ("net", "--force replaces it"),
        ("theirs", "another model of that name"),
        ("digits_cnn", "a model of this package"),
        ("no-name", "cannot name a model"),
    ):
        with pytest.raises(RequestError, match=said):
            stage.take_in(request(tmp_path, name), print)
    with pytest.raises(RequestError, match="at least one of --torchscript"):
        stage.take_in(stage.ImportRequest("new", {}, tmp_path), print)
    with pytest.raises(RequestError, match=r"a\.onnx does not exist"):
        stage.take_in(request(tmp_path, force=True), print)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net", "theirs"]


def test_the_order_of_options_is_the_order_of_files(tmp_path, monkeypatch):
    asked = []

    def take_in(request, _):
        asked.append(request)
        raise GateError("seen")

    monkeypatch.setattr(stage, "take_in", take_in)
    typed = ["net", "--tflite", "b.tflite", "--artifacts", str(tmp_path), "--onnx", "a.onnx", "--trust"]
    context = import_files.make_context("import", typed)
    with pytest.raises(GateError, match="seen"), context:
        context.invoke(import_files.callback, **context.params)
    (request,) = asked
    assert [(kind, str(path)) for kind, path in request.files.items()] == [
        ("tflite", "b.tflite"),
        ("onnx", "a.onnx"),
    ]
    assert (request.name, request.artifacts, request.trust, request.force) == ("net", tmp_path, True, False)


@click.command()
@options.model_argument
@options.artifacts_option
def asks(model, artifacts):
    """Any command of a model."""
    click.echo(model)


def test_a_name_is_looked_for_in_the_artifacts_folder_that_is_typed_and_notes_are_said(tmp_path, capsys):
    folder = write_import(tmp_path / "other" / "net", file("onnx"))
    typed = ["net", "--artifacts", str(tmp_path / "other")]
    context = asks.make_context("asks", typed)
    assert context.params["model"] == str(folder.parent)
    said = capsys.readouterr().err.splitlines()
    assert [line.partition("net: ")[0] for line in said] == ["note: ", "note: "]
    assert asks.make_context("asks", ["net"]).params["model"] == "net"
    assert asks.make_context("asks", ["digits_cnn"]).params["model"] == "digits_cnn"
    assert capsys.readouterr().err == ""


def test_a_record_of_a_run_says_what_was_imported(tmp_path):
    write_import(tmp_path / "net", file("onnx"))
    found = warnings.import_warnings(load_model(str(tmp_path / "net")))
    assert [(one.code, one.figures) for one in found] == [
        ("imported", {"reference": "onnx", "source": "from/model.onnx"}),
        ("random_samples", {}),
    ]
    assert all(say(one).remedy for one in found)
    assert warnings.import_warnings(load_model("digits_cnn")) == ()


@pytest.mark.parametrize("stage_of", [serving, smoking])
def test_a_road_that_is_asked_for_is_the_exports(stage_of, tmp_path, monkeypatch):
    asked = []

    def export(model, artifacts, progress, *, targets, road):
        asked.append(road)
        raise GateError("seen")

    monkeypatch.setattr(stage_of, "export", export)
    if stage_of is serving:
        request = serving.StandingRequest(
            "tfserving",
            "digits_cnn",
            resolve("default", ("tfserving",))["tfserving"],
            0,
            "127.0.0.1",
            tmp_path,
            road="onnx2tf",
        )
        with pytest.raises(GateError, match="seen"):
            serving.serve(request, lambda *_: None, lambda _: None)
    else:
        asking = smoking.SmokeRequest(
            "digits_cnn", ("tfserving",), "local", artifacts=tmp_path, runs=tmp_path, road="onnx2tf"
        )
        assert smoking.smoke(asking, lambda *_: None).failures
    assert asked == ["onnx2tf"]

"""Files from outside: what would leave a folder, fill a disk or run code is found before it is loaded."""

import io
import json
import os
import pickle
import shutil
import stat
import zipfile
from pathlib import Path

import numpy as np
import pytest

from models.checkpoint import CheckpointError
from models.pickles import called, code_of_program, pickles_in, suspicious
from models.recognised import kind_of_path
from models.stored import read_stored
from pipelines.errors import GateError, RequestError
from pipelines.importing import copies, inspection
from pipelines.importing.samples import read_samples
from pipelines.targets.torchserve.archive import MANIFEST
from pipelines.targets.torchserve.export import HANDLER, HANDLER_PARTS


class Evil:
    """Whoever unpickles it writes a file."""

    def __init__(self, place):
        self.place = str(place)

    def __reduce__(self):
        return (os.mkdir, (self.place,))


def zipped(path, entries):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_what_a_pickle_would_call_is_read_without_calling_it(tmp_path, protocol):
    content = pickle.dumps({"weights": [1.0], "more": Evil(tmp_path / "made")}, protocol)
    assert suspicious(content) == ("posix.mkdir",)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("content", [b"", b"\x80\x04cut off", b"\x80\x02\x82\x01."])
def test_a_pickle_that_cannot_be_read_to_its_end_is_not_harmless(content):
    assert called(content) == ("?",)


def test_names_that_are_taken_off_the_stack_again_hide_nothing():
    texts = [b"\x8c" + bytes([len(text)]) + text for text in (b"os", b"mkdir", b"torch", b"FloatStorage")]
    assert suspicious(b"\x80\x04" + b"".join(texts) + b"00\x93.") == ("?",)


def test_a_name_with_a_space_is_not_taken_for_another():
    assert called(b"cos mkdir\nx\n.") == ("?",)


def test_a_name_that_is_fetched_from_the_memo_is_seen():
    twice = pickle.dumps([os.mkdir, os.mkdir, Path], 4)
    assert called(twice)[:1] == ("posix.mkdir",)


def test_plain_containers_are_harmless():
    assert suspicious(pickle.dumps({"a": [1, 2.0, "x", (None, True)]})) == ()


def test_pickles_are_found_in_zip_files_in_zip_files(tmp_path):
    inner = io.BytesIO()
    zipped(inner, [("archive/data.pkl", pickle.dumps(Evil(tmp_path / "made")))])
    path = zipped(tmp_path / "a.zip", [("a/inner.pt", inner.getvalue()), ("a/data.pkl", pickle.dumps([1]))])
    assert dict(pickles_in(path)) == {"a/inner.pt/archive/data.pkl": ("posix.mkdir",), "a/data.pkl": ()}


def program(path, **changes):
    """An exported program's entries, as torch 2.13 writes them, some of them changed or added."""
    config = json.dumps({"config": {"w": {"path_name": "weight_0", "use_pickle": False}}})
    entries = {
        "archive_format": "pt2",
        "models/model.json": "{}",
        "data/weights/model_weights_config.json": config,
        "data/weights/weight_0": b"\x80\x04 numbers",
    } | changes
    return zipped(path, [(f"net/{name}", content) for name, content in entries.items()])


def test_an_exported_program_of_plain_numbers_holds_no_code(tmp_path):
    assert code_of_program(program(tmp_path / "a.pt2")) == ()


PICKLED = json.dumps({"config": {"w": {"path_name": "weight_0", "use_pickle": True}}})
CUSTOM = json.dumps({"config": {"w": {"path_name": "custom_obj_0", "use_pickle": False}}})


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("data/weights/model_weights_config.json", PICKLED),
        ("data/constants/model_constants_config.json", CUSTOM),
        ("data/weights/model_weights_config.json", "no json"),
        ("data/weights/model.pt", b"legacy"),
        ("data/aotinductor/model/code.so", b"\x7fELF"),
        ("data/sample_inputs/model.pt", pickle.dumps([1])),
    ],
)
def test_what_torch_would_unpickle_of_an_exported_program_is_named(tmp_path, name, content):
    assert code_of_program(program(tmp_path / "a.pt2", **{name: content})) == (f"net/{name}",)


def test_entries_of_one_name_hide_each_other(tmp_path):
    path = program(tmp_path / "a.pt2")
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(path, "a") as archive:
        archive.writestr("net/models/model.json", "other")
    assert code_of_program(path) == ("entries that hide each other",)


def test_a_checkpoint_with_pickles_in_it_is_refused_and_not_read(tmp_path):
    evil = pickle.dumps(Evil(tmp_path / "made"))
    path = program(tmp_path / "a.pt2", **{"data/sample_inputs/model.pt": evil})
    with pytest.raises(CheckpointError, match="may run code when it is read"):
        read_stored(path)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("name", ["../out", "/etc/out", "a/../../out", "a\\out"])
@pytest.mark.parametrize("kind", ["torchscript", "mar", "pt2"])
def test_names_that_climb_out_of_an_archive_are_refused(tmp_path, name, kind):
    path = zipped(tmp_path / "a.zip", [(name, b"x")])
    with pytest.raises(GateError, match="no plain path inside the archive"):
        inspection.findings(path, kind, "given.zip")


@pytest.mark.slow
def test_a_link_in_an_archive_and_one_made_to_fill_the_disk_are_refused(tmp_path):
    link = zipfile.ZipInfo("net/link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with pytest.raises(GateError, match="neither a file nor a folder"):
        inspection.findings(zipped(tmp_path / "a.pt", [(link, "/etc/passwd")]), "torchscript", "a.pt")
    bomb = tmp_path / "b.pt"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("net/data/0", bytes(200 * 2**20))
    with pytest.raises(GateError, match=r"its .* bytes unpack to 209715200"):
        inspection.findings(bomb, "pt2", "b.pt")


def test_a_damaged_archive_is_refused_in_one_line_whatever_part_is_damaged(tmp_path):
    path = zipped(
        tmp_path / "a.pt", [("net/constants.pkl", pickle.dumps(())), ("net/code/__torch__.py", "x = 1")]
    )
    assert inspection.findings(path, "torchscript", "a.pt") == ()
    whole, seen = path.read_bytes(), set()
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
        kind_of_path(path)
        try:
            inspection.findings(path, "torchscript", "a.pt")
        except GateError as error:
            assert len(str(error).splitlines()) == 1
            seen.add(str(error)[:12])
    assert seen


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_a_pickle_of_any_protocol_is_found_under_a_name_of_weights(tmp_path, protocol):
    evil = pickle.dumps(Evil(tmp_path / "made"), protocol)
    path = zipped(tmp_path / "a.zip", [("a/weights.pt", evil)])
    assert dict(pickles_in(path)) == {"a/weights.pt": ("posix.mkdir",)}


def mar(path, handler, more=(), script=None):
    manifest = {"model": {"modelName": "m", "handler": "handler.py", "serializedFile": "net.pt"}}
    plain = io.BytesIO()
    zipped(plain, [("net/constants.pkl", pickle.dumps(())), ("net/code/__torch__.py", "")])
    ours = {"handler.py": handler, "net.pt": script or plain.getvalue()}
    ours |= {part.name: part.read_text() for part in HANDLER_PARTS}
    entries = {MANIFEST: json.dumps(manifest)} | ours | dict(more)
    return zipped(path, entries.items())


@pytest.mark.parametrize(
    ("handler", "more", "found"),
    [
        (HANDLER.read_text(), [], ()),
        ("class Handler: ...", [], ("its own handler handler.py",)),
        (HANDLER.read_text(), [("net.py", "")], ("its code net.py",)),
        (HANDLER.read_text(), [("sub/json.so", "x")], ("its code sub/json.so",)),
        (HANDLER.read_text(), [("tandem_bodies.py", "mine")], ("its code tandem_bodies.py",)),
        (
            HANDLER.read_text(),
            [("net.pt", b"x")],
            ("its net.pt, which its handler loads and which is no TorchScript",),
        ),
        (
            HANDLER.read_text(),
            [("requirements.txt", "x")],
            ("its requirements.txt, which TorchServe may install",),
        ),
        (
            HANDLER.read_text(),
            [("labels.pkl", pickle.dumps(Evil("x")))],
            ("the pickle labels.pkl calls posix.mkdir",),
        ),
    ],
)
def test_code_in_a_model_archive_is_named(tmp_path, handler, more, found):
    assert inspection.findings(mar(tmp_path / "a.mar", handler, more), "mar", "a.mar") == found


def field(number, content, padding=b""):
    """A field of a protobuf; `padding` lengthens the number that says how long it is."""
    size = bytes([len(content) | 0x80 * bool(padding)]) + padding
    return bytes([number << 3 | 2]) + size + content


def node(operation, padding=b"", **texts):
    attributes = [field(5, field(1, name.encode()) + field(2, value)) for name, value in texts.items()]
    return field(1, b"name") + field(2, operation.encode(), padding) + b"".join(attributes)


def saved_model(*of_graph, of_function=()):
    functions = field(1, b"".join(field(3, each) for each in of_function))
    nodes = b"".join(field(1, each) for each in of_graph)
    return b"\x08\x01" + field(2, field(2, nodes + field(2, functions)))


def found_in(folder, content):
    (folder / "saved_model.pb").write_bytes(content)
    return inspection.findings(folder, "saved_model", "dir")


def test_operations_and_lambda_layers_in_a_saved_model_are_named(tmp_path):
    (tmp_path / "keras_metadata.pb").write_bytes(b'.. {"class_name": "Lambda", "name": "l"} ..')
    graph = saved_model(node("ReadFile"), node("MatMul"), of_function=[node("PyFunc")])
    assert found_in(tmp_path, graph) == (
        "its operation PyFunc",
        "its operation ReadFile",
        "a Keras Lambda layer in keras_metadata.pb",
    )


@pytest.mark.parametrize(
    "operation",
    [
        *("WriteFile", "EagerPyFunc", "PyFuncStateless", "DebugIdentityV3", "ImmutableConst", "SaveSlices"),
        *("CreateSummaryFileWriter", "WriteScalarSummary", "WriteSummary", "ImportEvent"),
        *("TextLineDataset", "TFRecordDatasetV2", "FixedLengthRecordDatasetV2", "ExperimentalCSVDataset"),
        *("WholeFileReaderV2", "SnapshotDatasetReader", "SaveDatasetV2", "DatasetFromGraph"),
        *("RecordInput", "FixedUnigramCandidateSampler"),
    ],
)
def test_what_reads_or_writes_files_is_named_also_in_a_function(tmp_path, operation):
    graph = saved_model(of_function=[node(operation)])
    assert found_in(tmp_path, graph) == (f"its operation {operation}",)


@pytest.mark.parametrize(
    "operation", ["MatMul", "SaveV2", "RestoreV2", "ScalarSummary", "TensorSliceDataset", "MyReadFile"]
)
def test_what_computes_and_what_loads_the_weights_of_every_saved_model_is_not_named(tmp_path, operation):
    assert found_in(tmp_path, saved_model(node(operation))) == ()


def test_a_length_that_is_padded_hides_no_operation(tmp_path):
    graph = saved_model(node("WriteFile", padding=b"\x80\x00"))
    assert found_in(tmp_path, graph) == ("its operation WriteFile",)


@pytest.mark.parametrize(
    ("source", "found"),
    [
        (b"local://", ()),
        (b"bytes://abc", ()),
        (b"/home/u/messages.pb", ("its operation DecodeProtoV2 of a file",)),
    ],
)
def test_descriptors_of_messages_are_named_where_they_are_files(tmp_path, source, found):
    graph = saved_model(node("DecodeProtoV2", descriptor_source=field(2, source)))
    assert found_in(tmp_path, graph) == found


@pytest.mark.slow
def test_a_program_in_an_archive_that_unpacks_to_far_more_is_refused(tmp_path):
    """The archive itself may be large; what grows is the program inside it."""
    program = io.BytesIO()
    with zipfile.ZipFile(program, "w", zipfile.ZIP_DEFLATED) as inner:
        inner.writestr("net/constants.pkl", pickle.dumps(()))
        inner.writestr("net/code/__torch__.py", bytes(120_000_000))
    archive = mar(tmp_path / "a.mar", HANDLER.read_text(), script=program.getvalue())
    with pytest.raises((GateError, RequestError), match="unpack to"):
        inspection.findings(archive, "mar", "a.mar")


@pytest.mark.parametrize("value", [field(2, b"file:///home/u/.bashrc"), field(9, b"of_caller")])
def test_printing_is_named_only_where_it_may_go_to_a_file(tmp_path, value):
    printing = [node("PrintV2"), node("PrintV2", output_stream=field(2, b"stdout"))]
    assert found_in(tmp_path, saved_model(*printing)) == ()
    graph = saved_model(*printing, of_function=[node("PrintV2", output_stream=value)])
    assert found_in(tmp_path, graph) == ("its operation PrintV2 to a file",)


def test_a_graph_that_cannot_be_read_to_its_end_is_refused_and_other_forms_of_it_are_named(tmp_path):
    with pytest.raises(GateError, match="damaged"):
        found_in(tmp_path, saved_model(node("MatMul"))[:-1])
    (tmp_path / "saved_model.cpb").write_bytes(b"x")
    assert found_in(tmp_path, saved_model(node("MatMul"))) == ("its file saved_model.cpb",)


def test_torchscript_that_writes_files_is_named(tmp_path):
    code = "def forward(self, x):\n  torch.save(x, 'here')\n  return x"
    path = zipped(tmp_path / "a.pt", [("a/code/__torch__.py", code), ("a/constants.pkl", pickle.dumps(()))])
    assert inspection.findings(path, "torchscript", "a.pt") == ("its operator aten::save",)
    archive = mar(tmp_path / "a.mar", HANDLER.read_text(), script=path.read_bytes())
    assert inspection.findings(archive, "mar", "a.mar") == ("its operator aten::save",)


def test_torchscript_that_is_too_long_to_be_looked_through_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(inspection, "CODE_LIMIT_BYTES", 4)
    path = zipped(tmp_path / "a.pt", [("a/code/b.py", "x=12"), ("a/code/c.py", "x=1")])
    assert inspection.findings(path, "torchscript", "a.pt") == ("its code a/code/b.py, too long to read",)


def test_code_needs_to_be_trusted_by_name():
    found = {"a.mar": ("its own handler h.py",), "b.onnx": ()}
    with pytest.raises(RequestError, match=r"a\.mar: its own handler h\.py; say --trust"):
        inspection.require_trust(found, trust=False)
    inspection.require_trust(found, trust=True)
    inspection.require_trust({"b.onnx": ()}, trust=False)


@pytest.mark.parametrize(
    ("content", "kind", "said"),
    [
        (b"\0\0\0\0TFL3", "onnx", "is a TFLite model; give it as --tflite"),
        (b"\x08\x08\x12\x04own", "torchscript", "is an ONNX model; give it as --onnx"),
        (b"noise" * 9, "tflite", "no file that is known here; give the file that was meant"),
    ],
)
def test_a_file_of_another_kind_is_told_by_its_content(tmp_path, content, kind, said):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(RequestError, match=said):
        inspection.require_kind(tmp_path / "file", kind, "file")


def test_a_folder_is_copied_whole_and_a_link_in_it_is_refused(tmp_path):
    (tmp_path / "from" / "variables").mkdir(parents=True)
    (tmp_path / "from" / "variables" / "data").write_bytes(b"12345")
    (tmp_path / "typed").symlink_to("from")
    assert copies.take_copy(tmp_path / "typed", tmp_path / "to") == 5
    assert (tmp_path / "to" / "variables" / "data").read_bytes() == b"12345"
    (tmp_path / "from" / "variables" / "link").symlink_to("/etc/passwd")
    with pytest.raises(GateError, match="variables/link is a symbolic link"):
        copies.take_copy(tmp_path / "from", tmp_path / "again")
    assert not (tmp_path / "again").exists()


def test_a_fifo_and_what_does_not_fit_are_refused(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(GateError, match="is a FIFO"):
        copies.take_copy(tmp_path / "fifo", tmp_path / "to")
    (tmp_path / "file").write_bytes(b"12345")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: type("Usage", (), {"free": 4}))
    with pytest.raises(RequestError, match=r"has 5 bytes and .* has room for 4"):
        copies.take_copy(tmp_path / "file", tmp_path / "to")
    with pytest.raises(RequestError, match="does not exist"):
        copies.take_copy(tmp_path / "nothing", tmp_path / "to")
    assert not (tmp_path / "to").exists()


def test_samples_with_pickles_in_them_are_refused_and_not_read(tmp_path):
    array = np.array([Evil(tmp_path / "made")], object)
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    np.savez(tmp_path / "a.npz", x=array)
    for name in ("a.npy", "a.npz"):
        with pytest.raises(RequestError, match="without pickles"):
            read_samples(tmp_path / name, [{"x": "x"}])
    assert not (tmp_path / "made").exists()

"""Model archives from anywhere: refused in one line, nothing outside executed, nothing left behind."""

import io
import json
import os
import stat
import struct
import tempfile
import time
import zipfile
from types import SimpleNamespace

import numpy as np
import pytest
from test_artifact_hostile import LISTED, at_most

from models.digits_cnn import MODEL
from pipelines.errors import GateError
from pipelines.targets.torchserve import archive, export
from pipelines.targets.torchserve.runtime import predict

HANDLER = """
import json
class Handler:
    def initialize(self, context):
        with open(context.system_properties["model_dir"] + "/offset") as file:
            self.offset = json.load(file)
    def handle(self, requests, context):
        rows = json.loads(requests[0]["body"])["instances"]
        return [json.dumps({"predictions": [[row[0] + self.offset] for row in rows]})]
"""
# Of these tests: the real ones would only make them slow.
SMALL_BYTES, ENTRIES_LIMIT = 3 * 2**20, 100
INPUTS = {"x": np.array([[1.0], [2.0]], np.float32)}
OUTPUTS = ("y",)
MANIFEST = {"model": {"modelName": "m", "handler": "handler.py", "serializedFile": "offset"}}


def parts(**changes):
    found = {archive.MANIFEST: json.dumps(MANIFEST), "handler.py": HANDLER, "offset": "10"}
    return found | {archive.MANIFEST if name == "MANIFEST" else name: text for name, text in changes.items()}


def zipped(entries):
    """A zip file of (name or ZipInfo, content) pairs."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in entries.items() if isinstance(entries, dict) else entries:
            made.writestr(name, content)
    return file.getvalue()


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """Temporary folders go here; after the test none is left."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert list(folder.iterdir()) == []


@pytest.fixture
def ask(tmp_path, temporary, monkeypatch):
    monkeypatch.setattr(archive, "SMALL_BYTES", SMALL_BYTES)
    monkeypatch.setattr(archive, "ENTRIES_LIMIT", ENTRIES_LIMIT)

    def predict_with(content, outputs=OUTPUTS):
        path = tmp_path / "m.mar"
        path.write_bytes(content)
        return predict(path, "torchserve-archive", INPUTS, outputs)

    return predict_with


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of the packager's own
def test_an_archive_is_written_whatever_the_clock_says(tmp_path, monkeypatch):
    script = tmp_path / "model.pt"
    script.write_bytes(b"traced")
    os.utime(script, (0, 0))
    in_1970 = time.struct_time((1970, 1, 1, 0, 0, 0, 3, 1, 0))
    monkeypatch.setattr(zipfile, "time", SimpleNamespace(time=lambda: 0.0, localtime=lambda *_: in_1970))
    export.write_archive(MODEL, script, tmp_path / "digits_cnn.mar")
    with zipfile.ZipFile(tmp_path / "digits_cnn.mar") as made:
        assert {"model.pt", "handler.py", archive.MANIFEST} <= set(made.namelist())
        assert {one.date_time[0] for one in made.infolist()} == {1980}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of the packager's own
def test_an_archive_is_written_in_a_folder_of_any_name(tmp_path):
    folder = tmp_path / "a, b [1] *? c:d"
    folder.mkdir()
    (folder / "model.pt").write_bytes(b"traced")
    export.write_archive(MODEL, folder / "model.pt", folder / "digits_cnn.mar")
    with zipfile.ZipFile(folder / "digits_cnn.mar") as made:
        names = {
            "model.pt",
            "handler.py",
            export.SIGNATURE_NAME,
            *(part.name for part in export.HANDLER_PARTS),
        }
        assert names <= set(made.namelist())
    assert {file.name for file in folder.iterdir()} == {"model.pt", "digits_cnn.mar"}


def test_a_good_archive_answers(ask):
    assert ask(zipped(parts()))["y"].tolist() == [[11.0], [12.0]]


GIVING = """
import json
class Handler:
    def initialize(self, context): ...
    def handle(self, requests, context):
        rows, places = %s, json.loads(requests[0]["body"])["instances"]
        return [json.dumps({"predictions": [rows[int(place) - 1] for (place,) in places]})]
"""


def giving(predictions, outputs=None):
    """An archive that gives these rows, with the signature of such outputs."""
    said = {} if outputs is None else {"signature.json": json.dumps({"inputs": [], "outputs": outputs})}
    return zipped(parts(**{"handler.py": GIVING % predictions}) | said)


@pytest.mark.parametrize(("rows", "kind"), [([3, 4], "i"), ([True, False], "b"), ([0.5, 1.5], "f")])
def test_numbers_of_a_handler_that_is_not_ours_say_their_dtype_themselves(ask, rows, kind):
    lies = [{"name": "y", "dtype": "float16", "shape": []}]
    for outputs in (None, lies):
        found = ask(giving(rows, outputs))["y"]
        assert (found.dtype.kind, found.dtype != np.float16, found.tolist()) == (kind, True, rows)


@pytest.fixture
def our_handler(tmp_path, monkeypatch):
    """Takes the handler that was packed last for ours."""
    path = tmp_path / "ours.py"
    monkeypatch.setattr(archive, "HANDLER", path)
    return lambda predictions: path.write_text(GIVING % predictions)


def test_the_signature_of_our_handler_says_the_dtype_whatever_the_only_output_is_called(ask, our_handler):
    our_handler([0, 1])
    found = ask(giving([0, 1], [{"name": "choice", "dtype": "float32", "shape": []}]))
    assert found["y"].dtype == np.float32


def test_several_outputs_are_taken_by_name_with_their_dtypes(ask, our_handler):
    rows = [{"b": 1, "a": 0}, {"b": 2, "a": 1}]
    our_handler(rows)
    signed = [
        {"name": name, "dtype": dtype, "shape": []} for name, dtype in (("a", "int8"), ("b", "float32"))
    ]
    found = ask(giving(rows, signed), ("a", "b"))
    assert {name: (array.dtype.name, array.tolist()) for name, array in found.items()} == {
        "a": ("int8", [0, 1]),
        "b": ("float32", [1.0, 2.0]),
    }


def test_outputs_by_other_names_are_refused_by_these(ask):
    with pytest.raises(GateError, match=r"has the outputs a, b; the model has output_0, output_1"):
        ask(giving([{"a": 0, "b": 1}] * 2), ("output_0", "output_1"))


def test_an_archive_written_to_a_pipe_answers(ask, tmp_path):
    """Such a file has the sizes behind each entry instead of before it."""

    class Pipe(io.RawIOBase):
        def __init__(self):
            self.content = b""

        def writable(self):
            return True

        def write(self, data):
            self.content += bytes(data)
            return len(data)

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in parts().items():
            made.writestr(name, content)
    assert ask(pipe.content)["y"].tolist() == [[11.0], [12.0]]


def link(name):
    info = zipfile.ZipInfo(name)
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


def named(key, value):
    return json.dumps({"model": MANIFEST["model"] | {key: value}})


def encrypted(content):
    """The same file, saying that its entries are encrypted."""
    content = bytearray(content)
    for signature, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        position = -1
        while (position := content.find(signature, position + 1)) >= 0:
            content[position + offset] |= 1
    return bytes(content)


def hidden(content):
    """An entry that only the directory does not know: TorchServe would read it, Python would not."""
    surplus = zipped({"handler.py": "raise SystemExit"})
    entry = surplus[: surplus.index(b"PK\1\2")]
    end = content.rindex(b"PK\5\6")
    directory = struct.unpack("<L", content[end + 16 : end + 20])[0]
    moved = content[:end] + content[end : end + 16] + struct.pack("<L", directory + len(entry))
    return moved[:directory] + entry + moved[directory:] + content[end + 20 :]


def renamed(content):
    """The first entry has another name than the directory says."""
    return content.replace(b"handler.py", b"another.py", 1)


def resized(content):
    """The first entry says another size than the directory does."""
    return content[:22] + struct.pack("<L", 5) + content[26:]


REFUSED = {
    "nothing": b"",
    "no zip": b"not a zip file",
    "cut off": zipped(parts())[:-10],
    "a flipped bit": zipped(parts())[:60] + b"\xff" + zipped(parts())[61:],
    "no entries": zipped({}),
    "no manifest": zipped({"handler.py": HANDLER}),
    "a manifest that is a folder": zipped({f"{archive.MANIFEST}/": "", "handler.py": HANDLER}),
    "a manifest that is no JSON": zipped(parts(MANIFEST="{")),
    "a manifest that is deep": zipped(parts(MANIFEST="[" * 100_000)),
    "a manifest of 2 MB": zipped(parts(MANIFEST=" " * 2**21)),
    "a manifest with a gigantic number": zipped(parts(MANIFEST="1" * 5000)),
    "a manifest that is a list": zipped(parts(MANIFEST="[]")),
    "a manifest without a handler": zipped(parts(MANIFEST='{"model": {}}')),
    "a handler elsewhere": zipped(parts(MANIFEST=named("handler", "/OUTSIDE"))),
    "a handler above": zipped(parts(MANIFEST=named("handler", "../../OUTSIDE"))),
    "a handler above by a folder": zipped(parts(MANIFEST=named("handler", "MAR-INF/../../OUTSIDE"))),
    "a handler with a name too long": zipped(parts(MANIFEST=named("handler", "x" * 999))),
    "an entry with a name too long": zipped([*parts().items(), ("\u00e9" * 200, "x")]),
    "an entry with a path too long": zipped([*parts().items(), ("x/" * 2000 + "y", "x")]),
    "a handler that is missing": zipped(parts(MANIFEST=named("handler", "none.py"))),
    "a handler that is a folder": zipped(parts(MANIFEST=named("handler", "MAR-INF"))),
    "a handler that is a number": zipped(parts(MANIFEST=named("handler", 5))),
    "a handler with a NUL": zipped(parts(MANIFEST=named("handler", "handler.py\0"))),
    "a model elsewhere": zipped(parts(MANIFEST=named("serializedFile", "/etc/hostname"))),
    "code elsewhere": zipped(parts(MANIFEST=named("modelFile", "../x.py"))),
    "an absolute entry": zipped([*parts().items(), ("/var/tandem-evil", "x")]),
    "a climbing entry": zipped([*parts().items(), ("../tandem-evil", "x")]),
    "an entry that climbs later": zipped([*parts().items(), ("a/../../tandem-evil", "x")]),
    "an entry of another system": zipped([*parts().items(), ("..\\tandem-evil", "x")]),
    "an entry with an escape": zipped([*parts().items(), ("\x1b[31m", "x")]),
    "an entry with a newline": zipped([*parts().items(), ("a\nb", "x")]),
    "an entry written another way": zipped([*parts().items(), ("./offset2", "x")]),
    "a link": zipped([*parts().items(), (link("etc"), "/etc")]),
    "an entry below a file": zipped([*parts().items(), ("offset/x", "x")]),
    "too many entries": zipped([*parts().items(), *((f"f{n}", "") for n in range(ENTRIES_LIMIT))]),
    "a bomb": zipped(parts(bomb=b"\0" * (SMALL_BYTES + 1))),
    "encrypted": encrypted(zipped(parts())),
    "a hidden entry": hidden(zipped(parts())),
    "something before it": b"#!/bin/sh\n" + zipped(parts()),
    "another name than in its directory": renamed(zipped({"handler.py": HANDLER, **parts()})),
    "another size than in its directory": resized(zipped(parts())),
}


def duplicated():
    with pytest.warns(UserWarning, match="Duplicate name"):
        return zipped([*parts().items(), ("handler.py", "raise SystemExit")])


def bzipped():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_BZIP2) as made:
        for name, content in parts().items():
            made.writestr(name, content)
    return file.getvalue()


LATER = {"the handler twice": duplicated, "packed by bzip2": bzipped}


@pytest.mark.parametrize("name", [*REFUSED, *LATER])
def test_a_hostile_archive_is_refused_and_executes_nothing(ask, tmp_path, name):
    outside = tmp_path / "OUTSIDE"
    outside.write_text(f"open({str(tmp_path / 'executed')!r}, 'w')")
    content = (REFUSED[name] if name in REFUSED else LATER[name]()).replace(
        b"/OUTSIDE", str(outside).encode() if name == "a handler elsewhere" else b"/OUTSIDE"
    )
    with at_most(60), pytest.raises(GateError) as caught:
        ask(content)
    assert str(tmp_path / "m.mar") in str(caught.value)
    assert len(str(caught.value)) < 700
    assert not (tmp_path / "executed").exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["OUTSIDE", "m.mar", "tmp"]


def test_a_handler_outside_that_exists_is_not_executed(tmp_path, temporary):
    outside = tmp_path / "outside.py"
    outside.write_text(f"open({str(tmp_path / 'executed')!r}, 'w')")
    for name in (str(outside), os.path.relpath(outside, temporary / "one-folder")):
        path = tmp_path / "m.mar"
        path.write_bytes(zipped(parts(MANIFEST=named("handler", name))))
        with pytest.raises(GateError, match="is no file of the archive"):
            predict(path, "torchserve-archive", INPUTS, OUTPUTS)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("kind", LISTED)
def test_an_archive_that_is_no_regular_file_is_refused(tmp_path, temporary, kind):
    path = tmp_path / "m.mar"
    LISTED[kind](path)
    with at_most(10), pytest.raises(GateError, match=kind):
        predict(path, "torchserve-archive", INPUTS, OUTPUTS)


def answering(expression):
    return (
        "import json, sys\nclass Handler:\n    def initialize(self, context): pass\n"
        f"    def handle(self, requests, context): {expression}\n"
    )


BAD_HANDLERS = {
    "raises when imported": "raise RuntimeError('no\\nway')",
    "exits when imported": "import sys; sys.exit(0)",
    "is no Python": "class",
    "has a NUL": "a\0b",
    "has no Handler": "",
    "is not to be made": "class Handler:\n    def __init__(self, x): pass",
    "has no initialize": "class Handler: pass",
    "raises in initialize": "class Handler:\n    def initialize(self, context): 1 / 0",
    "raises": answering("raise OSError(2, 'x')"),
    "exits": answering("sys.exit('bye')"),
    "recurses": answering("return self.handle(requests, context)"),
    "raises what cannot be shown": answering("raise Exception('\\ud800\\x1b[31m' * 10_000)"),
    "answers nothing": answering("return None"),
    "answers an empty list": answering("return []"),
    "answers twice": answering("return ['{}', '{}']"),
    "answers an object": answering("return [{'error': 'x' * 10_000}]"),
    "answers no JSON": answering("return ['x']"),
    "answers no predictions": answering("return ['{}']"),
    "answers words": answering("return [json.dumps({'predictions': ['a']})]"),
    "answers rows of different lengths": answering("return [json.dumps({'predictions': [[1], [1, 2]]})]"),
    "answers deep": answering("return ['[' * 100_000]"),
    "answers a gigantic number": answering("return ['{\"predictions\": [' + '9' * 5000 + ']}']"),
}


@pytest.mark.parametrize("name", BAD_HANDLERS)
def test_what_a_handler_does_wrong_is_one_line_about_its_archive(ask, tmp_path, name):
    with pytest.raises(GateError) as caught:
        ask(zipped(parts(**{"handler.py": BAD_HANDLERS[name]})))
    assert f"the handler in {tmp_path / 'm.mar'}" in str(caught.value)
    assert len(str(caught.value)) < 700

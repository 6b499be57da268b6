"""Files to import that somebody damaged or forged: refused by their own kind of error, or what they say."""

import io
import json
import pickle
import zipfile
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from file_inputs import FUZZ_S, altered, damaged, tries

from models.errors import ModelError
from models.given import RECORD, parts_of_spec
from models.pickles import called
from models.recognised import kind_of_path
from pipelines.errors import GateError, RequestError
from pipelines.importing import inspection
from pipelines.importing.samples import read_samples
from pipelines.targets.torchserve.archive import MANIFEST

__all__ = ["tries"]  # a fixture
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(FUZZ_S * 2 + 120),
    pytest.mark.filterwarnings("ignore::UserWarning"),  # zipfile's, of names that come twice
]


class Reduced:
    """Pickled as a call."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def pickles():
    """Pickles that call something harmless, something else, and nothing, in every protocol."""
    things = (
        {"weights": [1.0, 2], "name": "x" * 300, "more": (None, True, b"abc")},
        OrderedDict(a=Reduced(np.dtype, "f4"), b=Path("x")),
        [Reduced(bytearray, b"abc"), Reduced(print, "ran"), Reduced(print, "again")],
    )
    return [pickle.dumps(thing, protocol) for thing in things for protocol in range(6)]


class Nothing:
    """What every name of a pickle stands for in these tests: it takes all and does nothing."""

    def __new__(cls, *_, **__):
        return object.__new__(cls)

    def __call__(self, *_, **__):
        return self

    def __setstate__(self, _):
        pass

    def append(self, _):
        """Nothing."""

    def extend(self, _):
        """Nothing."""

    def __setitem__(self, *_):
        pass


class Looking(pickle._Unpickler):
    """Reads a pickle as Python does, notes each name that it asks for, and executes nothing."""

    def _refuse(self):
        raise pickle.UnpicklingError("Python takes as much memory as the length says before it looks")

    dispatch = pickle._Unpickler.dispatch | {pickle.BYTEARRAY8[0]: _refuse}

    def __init__(self, file):
        super().__init__(file)
        self.names = set()

    def find_class(self, module, name):
        """Note it."""
        self.names.add(f"{module}.{name}")
        return Nothing

    def persistent_load(self, _):
        """Give nothing."""

    def get_extension(self, _):
        """Extensions are names too, of a registry that no file knows."""
        self.names.add("?")
        self.append(Nothing)


def test_all_that_a_damaged_pickle_would_import_is_named(tries):
    whole, imports_count = pickles(), 0
    for rng in tries:
        content = damaged(rng.choice(whole), rng)
        found = called(content)
        reader = Looking(io.BytesIO(content))
        with suppress(Exception):
            reader.load()
        imports_count += len(reader.names)
        assert "?" in found or reader.names <= set(found), (content, reader.names, found)
    assert imports_count > 0


def zipped(entries, method=zipfile.ZIP_STORED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return file.getvalue()


CONFIG = {"config": {"w": {"path_name": "weight_0", "use_pickle": False}}}
PROGRAM = {
    "net/archive_format": "pt2",
    "net/models/model.json": "{}",
    "net/data/weights/model_weights_config.json": json.dumps(CONFIG),
    "net/data/weights/weight_0": b"\x80\x04 numbers",
}
SCRIPT = {
    "net/constants.pkl": pickle.dumps((), 2),
    "net/data.pkl": pickle.dumps({"a": 1}, 2),
    "net/code/__torch__.py": "def forward(self): return 1",
}
ARCHIVE = {
    MANIFEST: json.dumps({"model": {"handler": "handler.py", "serializedFile": "net.pt"}}),
    "handler.py": "class Handler: pass",
    "net.pt": zipped(SCRIPT),
}
ZIPS = {"pt2": PROGRAM, "torchscript": SCRIPT, "mar": ARCHIVE}


def forged(kind, rng):
    """A file of this kind with bytes damaged, an entry damaged, renamed or added, or the parts of two."""
    entries = dict(ZIPS[kind])
    name, way = rng.choice(list(entries)), rng.random()
    if way < 0.3:
        content = entries[name]
        entries[name] = damaged(content if isinstance(content, bytes) else content.encode(), rng)
    elif way < 0.4:
        # zipfile takes a NUL for the end of a name, and writes no entry without one.
        renamed = damaged(name.encode(), rng).decode("latin-1").partition("\0")[0].strip("/")
        entries[renamed or "x"] = entries.pop(name)
    elif way < 0.5:
        evil = pickle.dumps(Reduced(print, "ran"), rng.randrange(2, 6))
        entries[rng.choice(("net/data/weights/model.pt", "net/x.pkl", "net/extra/x", "x.pt"))] = evil
    elif way < 0.6:
        entries |= ZIPS[rng.choice(list(ZIPS))]
    elif way < 0.7 and kind == "pt2":
        entries["net/data/weights/model_weights_config.json"] = json.dumps(altered(CONFIG, rng))
    content = zipped(entries, rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)))
    return damaged(content, rng) if rng.random() < 0.5 else content


def calls_print(path):
    """Whether an entry that is taken for a pickle would call `print`."""
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            with suppress(Exception):
                if info.filename.endswith((".pkl", ".pt")):
                    reader = Looking(io.BytesIO(archive.read(info)))
                    reader.load()
                    if "builtins.print" in reader.names:
                        return True
    return False


def test_an_archive_to_import_is_looked_through_or_refused(tries, tmp_path):
    path, passed_count = tmp_path / "given", 0
    for rng in tries:
        kind = rng.choice(list(ZIPS))
        path.write_bytes(forged(kind, rng))
        try:
            inspection.require_kind(path, kind, "given")
            found = inspection.findings(path, kind, "given")
        except (GateError, RequestError) as error:
            assert len(str(error)) < 1000
            continue
        passed_count += 1
        # A pickle that calls print is never taken for data.
        assert found or not calls_print(path), path.read_bytes()
        assert [one.name for one in tmp_path.iterdir()] == ["given"]
    assert passed_count > 0


HEADS = (
    b"PK\3\4",
    b"\x80\2",
    b"\x89HDF\r\n",
    b"\0\0\0\0TFL3",
    b"\x08\x08\x12\x00",
    b"\x10\0\0\0\0\0\0\0{}",
    b"",
)


def test_any_file_is_of_some_kind_and_only_its_own_is_taken(tries, tmp_path):
    path = tmp_path / "given"
    whole = [*(head + bytes(60) for head in HEADS), *(zipped(one) for one in ZIPS.values())]
    for rng in tries:
        path.write_bytes(damaged(rng.choice(whole), rng))
        told = kind_of_path(path)
        assert isinstance(told, str)
        taken = []
        for kind in inspection.KINDS.values():
            with suppress(RequestError):
                inspection.require_kind(path, kind, "given")
                taken.append(kind)
        assert taken == [kind for name, kind in inspection.KINDS.items() if name == told]


def test_a_forged_record_of_an_import_names_files_of_its_own_folder_or_is_refused(tries, tmp_path):
    tensor = {"name": "x", "dtype": "float32", "shape": [None, 3]}
    file = {
        "kind": "onnx",
        "path": "model.onnx",
        "source": "m.onnx",
        "sha256": "0" * 64,
        "size_bytes": 3,
        "precision": "float32",
        "inputs": {"x": "x"},
        "outputs": {"y": "y"},
        "program": None,
        "findings": [],
    }
    record = {
        "schema_version": 1,
        "name": "given",
        "inputs": [tensor],
        "outputs": [{**tensor, "name": "y"}],
        "tolerance": {"absolute": 1e-4, "relative": 1e-4},
        "reference": "onnx",
        "random": True,
        "parameters_count": 3,
        "files": [file],
    }
    read_count = 0
    for rng in tries:
        text = json.dumps(altered(record, rng)).encode()
        (tmp_path / RECORD).write_bytes(damaged(text, rng) if rng.random() < 0.5 else text)
        try:
            given = parts_of_spec(tmp_path)["given"]
        except ModelError as error:
            assert len(str(error)) < 1000
            continue
        read_count += 1
        for one in given.files:
            for path in filter(None, (one.path, one.program)):
                assert (tmp_path / path).resolve().is_relative_to(tmp_path.resolve())
    assert read_count > 0


def npz(**arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def test_samples_are_numbers_of_each_input_or_refused(tries, tmp_path):
    plain = io.BytesIO()
    np.save(plain, np.arange(6, dtype=np.float32).reshape(3, 2))
    whole = {
        npz(x=np.ones((3, 2), np.float32)): ["x"],
        npz(x=np.ones((3, 2)), y=np.arange(3), labels=np.arange(3)): ["x", "y"],
        npz(**{"x.0": np.ones(2), "x.1": np.ones(5)}): ["x"],
        plain.getvalue(): ["x"],
    }
    path, read_count = tmp_path / "samples", 0
    for rng in tries:
        content, names = rng.choice(list(whole.items()))
        path.write_bytes(damaged(content, rng))
        try:
            found = read_samples(path, [{name: name for name in names}])
        except (GateError, RequestError) as error:
            assert len(str(error)) < 2000
            continue
        read_count += 1
        assert set(names) <= set(found)
        assert len({len(found[name]) for name in names}) == 1
    assert read_count > 0

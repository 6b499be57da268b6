"""`tandem init`: what can be read is filled in, what cannot is marked, and nothing is overwritten unasked."""

import json
import warnings
import zipfile

import pytest
import torch
from safetensors.torch import save_file
from tasks_here import in_this_process
from torch import nn

from models.errors import ModelError
from models.spec import load_model
from pipelines.check import stage as checking
from pipelines.cli import start
from pipelines.errors import RequestError
from pipelines.imported.saved_model import Read
from pipelines.imported.saved_model import Tensor as Said
from pipelines.init import reading, stage

# A spec that loads a TorchScript file does what PyTorch calls deprecated.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """In a folder of its own, with the reading done in this process."""
    monkeypatch.chdir(tmp_path)

    monkeypatch.setattr(stage, "run_tasks", in_this_process)
    return tmp_path


def init(source=None, *, name="mine.py", force=False):
    path = reading.Path(name)
    written = stage.init(path, None if source is None else reading.Path(source), print, force=force)
    return written, path.read_text()


def states(path="mine.py"):
    claims = checking.check_here(lambda _: None, path)
    return {claim.what: claim for claim in claims if claim.state not in ("ok", "note")}


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 3)

    def forward(self, left, right):
        return {"sum": self.fc(left + right), "size": (left - right).square().sum(1)}


def conv():
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5)
    )


def save_torchscript(module, path, *inputs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(module.eval(), inputs, strict=False), path)


def test_without_a_model_the_spec_says_what_to_fill_in():
    written, text = init()
    assert written.left == text.count("FILL IN") == 4
    spec = load_model("mine.py")
    assert (spec.name, spec.checkpoint.name) == ("mine", "weights.safetensors")
    assert "weights.safetensors of mine is missing" in states()["checkpoint"].found


@pytest.mark.slow
def test_a_torchscript_program_is_filled_in_and_every_claim_holds(here):
    torch.manual_seed(0)
    save_torchscript(conv(), here / "net.pt", torch.zeros(2, 3, 32, 32))
    written, text = init("net.pt")
    assert written.left == 1
    assert 'TensorSpec("input", "float32", (None, 3, 224, 224)),\n' in text
    assert 'TensorSpec("output", "float32", (None, 5)),\n' in text
    (here / "mine.py").write_text(text.replace("224", "16"))
    assert states() == {}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_an_exported_program_gives_names_dtypes_and_shapes(here):
    torch.manual_seed(0)
    dynamic = {"left": {0: torch.export.Dim.DYNAMIC}, "right": {0: torch.export.Dim.DYNAMIC}}
    example = (torch.zeros(2, 4), torch.zeros(2, 4))
    torch.export.save(torch.export.export(Two(), example, dynamic_shapes=dynamic), here / "net.pt2")
    written, _ = init("net.pt2")
    assert written.left == 1
    spec = load_model("mine.py")
    assert [(one.name, one.shape) for one in spec.inputs] == [("left", (None, 4)), ("right", (None, 4))]
    assert [(one.name, one.shape) for one in spec.outputs] == [("sum", (None, 3)), ("size", (None,))]
    assert states() == {}


def test_a_torchscript_program_with_two_inputs_and_a_dict(here):
    torch.manual_seed(0)
    save_torchscript(Two(), here / "net.pt", torch.zeros(2, 4), torch.zeros(2, 4))
    init("net.pt")
    assert [one.name for one in load_model("mine.py").outputs] == ["sum", "size"]
    assert states() == {}


def write_keras(path, layer):
    """As Keras 3 writes it, without Keras: what is looked at before anything of it is loaded."""
    layers = [{"class_name": layer, "config": {"name": "own"}}]
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(
            "config.json", json.dumps({"class_name": "Sequential", "config": {"layers": layers}})
        )


def test_a_keras_model_with_code_in_it_is_refused_by_the_layers_name(here):
    write_keras(here / "net.keras", "Lambda")
    with pytest.raises(ModelError, match="Lambda layer own, code of whoever wrote the file"):
        init("net.keras")
    assert not (here / "mine.py").exists()


def test_a_keras_model_is_filled_in_as_a_spec_of_its_own_kind(here, monkeypatch):
    write_keras(here / "net.keras", "Dense")
    given = reading.Tensor("x", "float32", (None, 4), sure=True)
    answered = reading.Tensor("output", "float32", (None, 3), sure=True)
    monkeypatch.setattr(reading, "_of_keras", lambda _: ((given,), (answered,)))
    written, _ = init("net.keras")
    spec = load_model("mine.py")
    assert (written.left, spec.whole, spec.checkpoint.name) == (1, True, "net.keras")
    assert [(one.name, one.shape) for one in (*spec.inputs, *spec.outputs)] == [
        ("x", (None, 4)),
        ("output", (None, 3)),
    ]


def test_a_saved_models_tensors_are_filled_in_and_its_architecture_is_not(here, monkeypatch):
    (here / "net").mkdir()
    (here / "net" / "saved_model.pb").write_bytes(b"")
    said = Read((Said("x", "int64", (None, 7)),), (Said("y", "float32", None),), "float32", 9)
    monkeypatch.setattr(reading, "read_saved_model", lambda _: said)
    written, text = init("net")
    spec = load_model("mine.py")
    assert (written.left, spec.inputs[0].shape, spec.inputs[0].dtype) == (3, (None, 7), "int64")
    assert "tandem import NAME --saved-model net" in text
    assert spec.checkpoint.name == "weights.safetensors"


@pytest.mark.parametrize("kind", ["safetensors", "state dict", "folder"])
def test_weights_alone_are_listed_and_the_architecture_is_left_to_fill_in(here, kind):
    torch.manual_seed(0)
    state = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 2)).state_dict()
    source = {"safetensors": "w.safetensors", "state dict": "w.pth", "folder": "hf"}[kind]
    if kind == "state dict":
        torch.save(state, source)
    else:
        (here / "hf").mkdir()
        save_file(state, "hf/model.safetensors" if kind == "folder" else source)
    written, text = init(source)
    assert written.left == 4
    assert "    # 0.weight (5, 6)\n" in text
    assert f"checkpoint=HERE / '{source}'" in text
    assert "NotImplementedError: return your torch.nn.Module" in states()["architecture"].found
    net = "from torch import nn; return nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 2))"
    line = next(one for one in text.splitlines() if "raise NotImplementedError" in one)
    (here / "mine.py").write_text(text.replace(line.strip(), net))
    assert states() == {}


def test_the_checkpoint_is_named_from_where_the_spec_is(here):
    (here / "specs").mkdir()
    save_file({"0.weight": torch.zeros(2, 3)}, here / "w.safetensors")
    init("w.safetensors", name="specs/mine.py")
    assert load_model("specs/mine.py").checkpoint.samefile(here / "w.safetensors")


def test_nothing_is_overwritten_unasked(here):
    (here / "mine.py").write_text("mine")
    with pytest.raises(RequestError, match=r"mine\.py is there already; --force replaces it"):
        init()
    assert (here / "mine.py").read_text() == "mine"
    assert init(force=True)[1] != "mine"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("mine", "ends in .py"),
        ("digits_cnn.py", "digits_cnn is a model of this package"),
        ("no/where/mine.py", "is no folder; make it first"),
    ],
)
def test_a_file_that_cannot_be_a_spec_is_refused_before_anything_is_written(here, name, said):
    with pytest.raises(RequestError, match=said):
        init(name=name)
    assert list(here.iterdir()) == []


def write_saved_model(path):
    path.mkdir()
    (path / "saved_model.pb").write_bytes(b"")


SOURCES = {
    "nothing": (lambda _: None, "does not exist"),
    "noise": (lambda path: path.write_bytes(b"noise" * 9), "holds no weights that can be read"),
    "HDF5": (lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n"), "holds no model of Keras"),
    "SavedModel": (write_saved_model, "no signature 'serving_default'"),
    "TFLite": (
        lambda path: path.write_bytes(b"\x00\x00\x00\x00TFL3"),
        "tandem import my_model --tflite ",
    ),
    "empty folder": (lambda path: path.mkdir(), "the folder holds none of"),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", SOURCES)
def test_what_holds_no_weights_is_named_by_its_content(here, kind):
    write, said = SOURCES[kind]
    write(here / "source")
    with pytest.raises(ModelError, match=said):
        init("source")
    assert not (here / "mine.py").exists()


def test_the_command_says_what_to_do_next(capsys):
    context = start.init.make_context("init", ["my model.py"])
    assert start.init.callback(**context.params) is None
    said = capsys.readouterr().out
    assert "my model.py: 4 places to fill in (FILL IN)" in said
    assert "then run `tandem check 'my model.py'`" in said

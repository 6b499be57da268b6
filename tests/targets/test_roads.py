"""Roads without a twin: which is tried, what proves it, what is said where none takes a model, the cures."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from models.digits_cnn import MODEL
from models.spec import Samples
from pipelines.environments.known import ENVIRONMENTS
from pipelines.errors import GateError, MachineError, RequestError
from pipelines.roads import by_litert, choice
from pipelines.roads.conversion import convert
from pipelines.roads.cures import bagged, first_of, scanned, without_transposed
from pipelines.roads.cures import replace as cured
from pipelines.roads.enlarging import enlarged
from pipelines.roads.known import BY_ONNX2TF, BY_TORCHAX, Asked, chosen, require_road, sources
from pipelines.roads.lowerings import FORMS, LOWERINGS, operator_named
from pipelines.roads.proof import SAMPLES, require_same
from pipelines.roads.refusal import explain

KNOWN = ("twin", "torchax", "onnx2tf")
PLAIN = replace(MODEL, build_keras=None)


def quiet(*_):
    """Nobody looks."""


@pytest.mark.parametrize(
    ("spec", "forced", "roads"),
    [
        (MODEL, None, ("twin",)),
        (PLAIN, None, ("torchax", "onnx2tf")),
        (MODEL, "torchax", ("torchax",)),
        (PLAIN, "onnx2tf", ("onnx2tf",)),
        (MODEL, "litert", ("twin",)),  # a road of another target
        (MODEL, "twin", ("twin",)),
    ],
)
def test_a_twin_comes_first_and_a_forced_road_alone(spec, forced, roads):
    assert chosen(spec, KNOWN, forced) == roads


def test_a_twin_that_is_not_there_cannot_be_forced():
    with pytest.raises(RequestError, match=r"has no Keras twin.*torchax, onnx2tf"):
        chosen(PLAIN, KNOWN, "twin")


def test_an_unknown_road_is_a_wrong_request():
    require_road("auto")
    require_road(None)
    with pytest.raises(RequestError, match="unknown road 'torchx'; did you mean torchax"):
        require_road("torchx")


def test_the_locks_decide_an_export_without_a_twin():
    names = {path.name for path in sources(KNOWN)}
    assert {"torchax.lock", "onnx2tf.lock", "by_torchax.py"} <= names
    assert "litert.lock" not in names


def test_integers_by_litert_learn_their_ranges_from_the_drawn_training_samples():
    inputs = np.arange(1000, dtype=np.float32).reshape(-1, 1, 1, 1) * np.ones((8, 8, 1), np.float32)
    ordered = replace(PLAIN, train_samples=lambda: Samples(inputs), test_samples=lambda: Samples(inputs * 0))
    found = by_litert.calibration(ordered)
    assert {(*one, array.shape) for one in found for array in one.values()} == {("args_0", (1, 8, 8, 1))}
    values = {float(one["args_0"].max()) for one in found}
    assert len(values) == len(found) == by_litert.CALIBRATION_COUNT
    assert min(values) < 250
    assert max(values) > 750


def test_without_training_samples_litert_writes_no_integers(tmp_path, monkeypatch):
    spec = replace(PLAIN, train_samples=None)
    monkeypatch.setattr(by_litert, "load_unchanged", lambda *_: spec)
    monkeypatch.setattr(by_litert, "_flatbuffer", lambda _: b"float")
    monkeypatch.setattr(by_litert, "_quantised", lambda *_: b"less")
    by_litert.convert("digits_cnn", spec.digest, str(tmp_path / "to"), quiet)
    assert json.loads((tmp_path / "to" / by_litert.REFUSED).read_text()) == {}
    written = {path.stem for path in (tmp_path / "to").glob("*.tflite")}
    assert written == {"float32", "float16", "dynamic-int8"}


@pytest.fixture
def truth():
    inputs = MODEL.samples().named["image"][:SAMPLES]
    return {"logits": list(inputs.reshape(len(inputs), -1)[:, :10])}


def right(batch):
    rows = batch["image"].reshape(len(batch["image"]), -1)
    return {"logits": rows[:, :10]}


def test_what_gives_the_same_in_every_batch_is_proved(truth):
    asked = []

    def call(batch):
        asked.append(len(batch["image"]))
        return right(batch)

    assert require_same(MODEL, call, truth) == 0
    assert {1, 3, 8} <= set(asked)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda batch, y: y + (len(batch) > 1), "in a batch of 3 is off by 1 for sample 0"),
        (lambda _, y: y * np.nan, "in a batch of 1 is off by inf"),
        (lambda _, y: y.astype(np.float64), "is float64"),
        (lambda _, y: y[:, :9], r"is float32 \(9,\) for sample 0, not float32 \(10,\)"),
    ],
)
def test_what_differs_in_any_batch_is_refused(truth, wrong, said):
    with pytest.raises(GateError, match=said):
        require_same(MODEL, lambda b: {"logits": wrong(b["image"], right(b)["logits"])}, truth)


def test_what_fails_in_a_batch_is_refused_with_its_first_line(truth):
    def call(batch):
        if len(batch["image"]) > 1:
            raise ValueError("\nreshape has a fixed batch\nand more")
        return right(batch)

    with pytest.raises(GateError, match=r"fails on a batch of 3: reshape has a fixed batch$"):
        require_same(MODEL, call, truth)


@pytest.fixture
def roads(monkeypatch, truth):
    """Roads whose converters do as the test says: write a folder, or raise."""

    def play(**outcomes):
        def converts(spec, asked, road, folder, progress):
            outcome = outcomes[road.name]
            if outcome is not None:
                raise outcome
            folder.mkdir()
            (folder / "by").write_text(road.name)

        monkeypatch.setattr(choice, "convert", converts)
        monkeypatch.setattr(choice, "_truth", lambda *_: Path())
        monkeypatch.setattr(choice, "read_truth", lambda *_: truth)
        monkeypatch.setattr(choice, "saved_model_call", lambda *_: right)

    return play


def test_a_road_that_does_not_take_the_model_is_told_and_the_next_one_taken(roads, tmp_path):
    roads(torchax=GateError("operator aten.foo at net.py:7: no lowering"), onnx2tf=None)
    taken = choice.to_saved_model(PLAIN, Asked("m"), KNOWN[1:], tmp_path / "1", quiet)
    assert (taken.road, (tmp_path / "1" / "by").read_text()) == ("onnx2tf", "onnx2tf")
    assert taken.tools["onnx2tf"] == "1.29.24"
    assert taken.warnings == (
        "the road torchax did not take the model: operator aten.foo at net.py:7: no lowering",
    )
    assert [path.name for path in tmp_path.iterdir()] == ["1"]


@pytest.mark.parametrize("second", [GateError("b"), MachineError("the disk is full")])
def test_where_none_takes_it_one_line_says_what_was_tried_and_what_can_be_done(roads, tmp_path, second):
    roads(torchax=GateError("a"), onnx2tf=second)
    with pytest.raises(
        type(second), match=f"torchax: a; onnx2tf: {second}. .*build_keras.*--targets"
    ) as told:
        choice.to_saved_model(PLAIN, Asked("m"), KNOWN[1:], tmp_path / "1", quiet)
    assert "\n" not in str(told.value)
    assert list(tmp_path.iterdir()) == []


class Reader(nn.Module):
    """Decides by a value."""

    def forward(self, x):
        if x.sum() > 0:
            return x
        return -x


@pytest.mark.slow
def test_a_refusal_names_the_operator_or_the_reason_and_the_place_in_the_model():
    with pytest.raises(Exception) as told:
        torch.export.export(Reader(), (torch.ones(2),))
    said = explain(told.value)
    assert "control flow or a shape depends on its data" in said
    assert "\n" not in said


def test_a_refusal_without_words_names_the_operator():
    text = (
        "While executing %foo : [num_users=1] = call_function[target=torch.ops.aten.foo.default](args = ())"
    )
    assert explain(AssertionError(f"None\n{text}")).startswith("operator torch.ops.aten.foo.default")


def test_whatever_a_converter_raises_is_its_answer():
    assert convert(quiet, "json:loads", s="{") is not None
    with pytest.raises(RequestError, match="ours"):
        convert(quiet, f"{__name__}:asks")


def asks(progress):
    """A converter with an error of ours."""
    raise RequestError("ours")


CONVOLUTIONS = [
    nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1),
    nn.ConvTranspose2d(4, 6, (4, 3), stride=(2, 3), padding=(1, 0), groups=2, bias=False),
    nn.ConvTranspose2d(4, 6, 3, padding=2, dilation=2),
    nn.ConvTranspose2d(4, 4, 1, stride=2),
    nn.ConvTranspose1d(4, 6, 5, stride=3, padding=2, output_padding=1),
]


@pytest.mark.slow
@pytest.mark.parametrize("layer", CONVOLUTIONS, ids=str)
def test_a_transposed_convolution_is_a_plain_one_over_zeros_in_between(layer):
    module = nn.Sequential(layer)
    x = torch.randn(3, 4, *[7, 5][: len(layer.kernel_size)])
    with torch.inference_mode():
        wanted = module(x)
        cured(module, without_transposed)
        assert type(module[0]) is not type(layer)
        torch.testing.assert_close(module(x), wanted)


@pytest.mark.slow
def test_a_recurrent_layer_keeps_its_dynamic_length_as_one_operator():
    module = nn.Sequential(nn.GRU(4, 5, 2, batch_first=True, bidirectional=True))
    cured(module, scanned)
    shapes = ({0: torch.export.Dim.AUTO, 1: torch.export.Dim.AUTO},)
    program = torch.export.export(module, (torch.randn(3, 7, 4),), dynamic_shapes=shapes, strict=False)
    targets = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
    assert targets.count("tandem.recurrent.default") == 1
    given = next(node for node in program.graph.nodes if node.name == "input")
    assert not any(isinstance(size, int) for size in given.meta["val"].shape[:2])


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_a_bag_of_rows_of_one_length_is_an_embedding_and_its_reduction(mode):
    layer = nn.EmbeddingBag(9, 4, mode=mode)
    module, rows = nn.Sequential(layer), torch.arange(15).reshape(3, 5) % 9
    cured(module, first_of(scanned, bagged))
    assert module[0] is not layer
    torch.testing.assert_close(module(rows), layer(rows))
    starts = torch.tensor([0, 2])
    torch.testing.assert_close(module[0](rows[0], starts), layer(rows[0], starts))


class Enlarging(nn.Module):
    def forward(self, x, row):
        larger = nn.functional.interpolate
        return larger(x, scale_factor=(2, 3)), larger(row, scale_factor=2), larger(x, scale_factor=1.5)


@pytest.mark.slow
def test_a_dynamic_size_is_enlarged_by_whole_factors_without_reckoning_in_floats():
    auto = torch.export.Dim.AUTO
    given = (torch.randn(3, 2, 5, 7), torch.randn(3, 2, 6))
    shapes = (({0: auto, 2: auto, 3: auto}), ({0: auto, 2: auto}))
    program = enlarged(torch.export.export(Enlarging(), given, dynamic_shapes=shapes))
    targets = [str(node.target) for node in program.graph.nodes]
    assert [target for target in targets if "upsample" in target] == ["aten.upsample_nearest2d.vec"]
    other = (torch.randn(2, 2, 4, 9), torch.randn(2, 2, 11))
    assert all(map(torch.equal, program.module()(*other), Enlarging()(*other)))


def test_a_fixed_size_is_enlarged_as_torch_does_it():
    program = torch.export.export(nn.Upsample(scale_factor=2), (torch.randn(3, 2, 5, 7),))
    assert enlarged(program) is program


@pytest.mark.parametrize("sizes", [(2, 2), (3, 4), (7, 1)])
def test_adaptive_pooling_in_jax_has_the_cells_of_torch(sizes, monkeypatch):
    """With NumPy in the place of JAX, which has the same functions and is in another environment."""
    monkeypatch.setitem(sys.modules, "jax", SimpleNamespace(numpy=np))
    monkeypatch.setitem(sys.modules, "jax.numpy", np)
    x = torch.randn(2, 3, 7, 10)
    found, _ = LOWERINGS["adaptive_max_pool2d.default"](x.numpy(), sizes)
    assert np.array_equal(found, nn.functional.adaptive_max_pool2d(x, sizes).numpy())
    found, places = FORMS["adaptive_max_pool2d.default"](x, sizes)
    torch.testing.assert_close(found, nn.functional.adaptive_max_pool2d(x, sizes))
    assert (places.shape, places.dtype) == (found.shape, torch.int64)


def test_every_lowering_is_of_an_operator_that_torch_has():
    assert all(operator_named(name) for name in {**LOWERINGS, **FORMS})


@pytest.mark.parametrize("layer", [nn.LSTM(4, 5, proj_size=2), nn.Linear(4, 5), nn.LSTMCell(4, 5)], ids=str)
def test_what_has_no_other_form_stays(layer):
    module = nn.Sequential(layer)
    cured(module, scanned)
    assert module[0] is layer


@pytest.mark.slow
@pytest.mark.parametrize("road", [BY_TORCHAX, BY_ONNX2TF], ids=lambda road: road.name)
def test_a_shipped_model_takes_the_road_where_its_environment_is_made(road, tmp_path):
    if not ENVIRONMENTS[road.environment.name].made:
        pytest.skip(f"the environment {road.environment.name} is not made; `tandem export --road` makes it")
    taken = choice.to_saved_model(MODEL, Asked("digits_cnn"), [road.name], tmp_path / "1", quiet)
    assert taken.max_abs_error < 1e-4
    assert (tmp_path / "1" / "saved_model.pb").is_file()

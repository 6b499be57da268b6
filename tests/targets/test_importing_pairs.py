"""`tandem import` of every kind of file alone, and of every pair: the same model twice, or two models."""

import itertools
import warnings

import numpy as np
import pytest
import tensorflow as tf
import torch
from test_importing import in_this_process

from models.spec import ModelSpec, TensorSpec, Tolerance
from pipelines.artifacts.manifest import read_manifest
from pipelines.errors import GateError
from pipelines.export import stage as exporting
from pipelines.importing import stage
from pipelines.targets.torchserve.export import write_archive
from pipelines.verify import stage as verifying

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning"),
]
PATHS = {
    "torchscript": "net.pt",
    "mar": "net.mar",
    "pt2": "net.pt2",
    "saved_model": "saved",
    "tflite": "net.tflite",
    "onnx": "net.onnx",
}


def write_all(folder, weight):
    """One layer as every kind of file."""
    folder.mkdir()
    layer = torch.nn.Linear(4, 3, bias=False).eval()
    layer.weight.data = torch.tensor(weight)
    example, batch = torch.ones(2, 4), {0: torch.export.Dim.DYNAMIC}
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.freeze(torch.jit.trace(layer, example)), folder / "net.pt")
        torch.export.save(torch.export.export(layer, (example,), dynamic_shapes=(batch,)), folder / "net.pt2")
        names = {"input_names": ["x"], "output_names": ["y"]}
        axes = {"x": {0: "batch"}, "y": {0: "batch"}}
        path = folder / "net.onnx"
        torch.onnx.export(layer, (example,), path, dynamo=False, dynamic_axes=axes, **names)
    spec = ModelSpec(
        name="net",
        inputs=TensorSpec("x", "float32", (None, 4)),
        outputs=TensorSpec("y", "float32", (None, 3)),
        tolerance=Tolerance(1e-5, 1e-5),
        checkpoint=folder / "net.pt",
        build_torch=lambda: layer,
        test_samples=lambda: None,
    )
    write_archive(spec, folder / "net.pt", folder / "net.mar")
    kept = tf.Module()
    kept.weight = tf.Variable(weight.T)
    signature = [tf.TensorSpec((None, 4), tf.float32, name="x")]
    serve = tf.function(lambda x: {"y": x @ kept.weight}, input_signature=signature)
    tf.saved_model.save(kept, str(folder / "saved"), signatures=serve.get_concrete_function())
    converter = tf.lite.TFLiteConverter.from_saved_model(str(folder / "saved"))
    (folder / "net.tflite").write_bytes(converter.convert())


@pytest.fixture(scope="module")
def right_and_wrong(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kinds")
    draw = np.random.default_rng(2)
    weight = draw.normal(size=(3, 4)).astype(np.float32)
    write_all(folder / "right", weight)
    weight[1, 2] += 0.01
    write_all(folder / "wrong", weight)
    np.savez(folder / "samples.npz", x=draw.normal(size=(12, 4)).astype(np.float32))
    return folder


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    for module in (stage, exporting, verifying):
        monkeypatch.setattr(module, "run_tasks", in_this_process)


def take_in(root, folder, **which):
    files = {kind: folder / which_one / PATHS[kind] for kind, which_one in which.items()}
    return stage.take_in(stage.ImportRequest("net", files, root, folder / "samples.npz"), lambda *_: None)


@pytest.mark.parametrize("kind", PATHS)
def test_a_file_of_each_kind_is_imported_alone(tmp_path, right_and_wrong, kind):
    imported = take_in(tmp_path, right_and_wrong, **{kind: "right"})
    assert (imported.given.reference, imported.verified.failures) == (kind, ())
    assert [one.shape for one in (*imported.spec.inputs, *imported.spec.outputs)] == [(None, 4), (None, 3)]


@pytest.mark.parametrize(("first", "second"), list(itertools.combinations(PATHS, 2)))
def test_of_two_files_the_second_is_the_same_model_or_is_found_out(tmp_path, right_and_wrong, first, second):
    imported = take_in(tmp_path / "same", right_and_wrong, **{first: "right", second: "right"})
    assert imported.verified.failures == ()
    # An exported program is the reference in either place: then the other file is the wrong one.
    reference = second if second == "pt2" else first
    imported = take_in(tmp_path / "other", right_and_wrong, **{first: "right", second: "wrong"})
    assert imported.given.reference == reference
    assert imported.verified.failures
    for failure in imported.verified.failures:
        assert f"is not the imported {reference} (" in failure
        assert "source model" not in failure
    with pytest.raises(GateError):
        stage.require_same(imported)
    assert not (tmp_path / "other" / "net").exists()


class TwoHeads(torch.nn.Module):
    """Scores, and the class that they choose."""

    def __init__(self, weight):
        super().__init__()
        self.layer = torch.nn.Linear(4, 3, bias=False)
        self.layer.weight.data = torch.tensor(weight)

    def forward(self, features):
        logits = self.layer(features)
        return logits, logits.argmax(dim=1)


@pytest.fixture(scope="module")
def two_heads(tmp_path_factory):
    folder = tmp_path_factory.mktemp("heads")
    draw = np.random.default_rng(3)
    net = TwoHeads(draw.normal(size=(3, 4)).astype(np.float32)).eval()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.freeze(torch.jit.trace(net, torch.ones(2, 4))), folder / "net.pt")
    spec = ModelSpec(
        name="net",
        inputs=TensorSpec("row", "float32", (None, 4)),
        outputs=(TensorSpec("logits", "float32", (None, 3)), TensorSpec("choice", "int64", (None,))),
        tolerance=Tolerance(1e-5, 1e-5),
        checkpoint=folder / "net.pt",
        build_torch=lambda: net,
        test_samples=lambda: None,
    )
    write_archive(spec, folder / "net.pt", folder / "net.mar")
    np.savez(folder / "samples.npz", row=draw.normal(size=(12, 4)).astype(np.float32))
    return folder


@pytest.mark.parametrize(
    ("kinds", "names", "road"),
    [
        (["mar"], ["logits", "choice"], "imported as it is"),
        (["torchscript", "mar"], ["output_0", "output_1"], "imported, with its tensors renamed"),
    ],
)
def test_an_archive_of_several_outputs_is_imported_by_the_names_that_its_handler_answers(
    tmp_path, two_heads, kinds, names, road
):
    files = {kind: two_heads / PATHS[kind] for kind in kinds}
    request = stage.ImportRequest("net", files, tmp_path, two_heads / "samples.npz")
    imported = stage.take_in(request, lambda *_: None)
    assert imported.verified.failures == ()
    assert [(one.name, one.dtype) for one in imported.spec.outputs] == list(
        zip(names, ("float32", "int64"), strict=True)
    )
    (archive,) = [
        one for one in read_manifest(tmp_path / "net" / "torchserve").artifacts if one.path == "net.mar"
    ]
    assert archive.road == road

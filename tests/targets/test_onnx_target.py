"""ONNX: one checked file with a dynamic batch, run by ONNX Runtime."""

import numpy as np
import pytest

from models.digits_cnn import MODEL
from models.weights import load_source
from pipelines.errors import GateError
from pipelines.targets.in_process import Inspection
from pipelines.targets.onnx import runtime
from pipelines.targets.onnx.export import OPSET, export

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    folder = tmp_path_factory.mktemp("onnx")
    (entry,) = export(MODEL, folder, lambda _: None)
    assert (entry.path, entry.format, entry.precision) == ("digits_cnn_float32.onnx", "onnx", "float32")
    assert [file.name for file in folder.iterdir()] == [entry.path], "weights belong inside the one file"
    return folder / entry.path


def predict(path, inputs):
    return runtime.predict(path, "onnx", {"image": inputs}, ["logits"])["logits"]


@pytest.mark.parametrize("count", [1, 3, 450])
def test_outputs_are_the_source_models_at_any_batch_size(path, count):
    import torch

    inputs = MODEL.samples().inputs[:count]
    with torch.inference_mode():
        expected = load_source(MODEL)(torch.from_numpy(inputs)).numpy()
    np.testing.assert_allclose(predict(path, inputs), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("threads", [1, 2])
def test_one_sample_at_a_time_agrees_with_predict(path, threads):
    inputs = MODEL.samples().inputs[:4]
    expected = predict(path, inputs)
    model = runtime.open_model(path, "onnx", threads, ["logits"])
    for sample, wanted in zip(inputs, expected, strict=True):
        model.set_inputs({"image": sample})
        model.invoke()
        np.testing.assert_allclose(model.outputs()["logits"], wanted, rtol=1e-5, atol=1e-5)


def test_the_file_says_names_shapes_and_opset_and_nothing_of_our_sources(path):
    import onnx

    model = onnx.load(path)
    ((source,), (sink,)) = model.graph.input, model.graph.output
    dims = [dim.dim_param or dim.dim_value for dim in source.type.tensor_type.shape.dim]
    assert (source.name, dims) == ("image", ["batch", 8, 8, 1])
    assert sink.name == "logits"
    assert [(one.domain, one.version) for one in model.opset_import] == [("", OPSET)]
    assert "BatchNormalization" not in {node.op_type for node in model.graph.node}
    assert b"torch_model.py" not in path.read_bytes()


def test_inspection_counts_nodes_and_weights(path):
    assert runtime.inspect(path, "onnx") == Inspection(25_866, 12, 0, None)


def test_the_same_model_gives_the_same_bytes(path, tmp_path):
    export(MODEL, tmp_path, lambda _: None)
    assert (tmp_path / path.name).read_bytes() == path.read_bytes()


@pytest.mark.parametrize("keep", [0.01, 0.5, 0.99])
def test_a_file_cut_short_is_refused(path, tmp_path, keep):
    broken = tmp_path / "broken.onnx"
    content = path.read_bytes()
    broken.write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(GateError) as caught:
        runtime.open_model(broken, "onnx", 1, ["logits"])
    assert str(broken) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_wrong_shape_are_refused(path, tmp_path):
    with pytest.raises(GateError, match="missing"):
        runtime.open_model(tmp_path / "missing", "onnx", 1, ["logits"])
    with pytest.raises(GateError, match="refuses its input"):
        predict(path, np.zeros((2, 8, 8), np.float32))


def test_the_library_is_counted_from_the_installed_file():
    library = runtime.runtime_library("onnx")
    assert library.name == "ONNX Runtime"
    assert library.size_bytes > 1_000_000
    assert library.version in library.source


def test_telemetry_is_off_before_a_file_is_opened(path, monkeypatch):
    import onnxruntime

    events = []
    real = onnxruntime.InferenceSession
    monkeypatch.setattr(onnxruntime, "disable_telemetry_events", lambda: events.append("off"))
    monkeypatch.setattr(
        onnxruntime,
        "InferenceSession",
        lambda *given, **named: events.append("open") or real(*given, **named),
    )
    predict(path, MODEL.samples().inputs[:1])
    assert events == ["off", "open"]

"""Every precision of digits_cnn: right, small, calibrated on training samples only, the same every time."""

import dataclasses
import io
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from tflite_fixture import Table, computing, forbidden, quiet, with_training

from models.digits_cnn import MODEL
from models.spec import ModelError, Samples, TensorSpec
from models.weights import load_source
from pipelines.errors import GateError
from pipelines.roads.known import Asked
from pipelines.targets.calibration import CALIBRATION_COUNT
from pipelines.targets.exported import Exported, NotExported
from pipelines.targets.tflite import quantise
from pipelines.targets.tflite.export import export, write_by_road, write_flatbuffer
from pipelines.targets.tflite.runtime import LIBRARIES, inspect, open_model, predict, runtime_library

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*tf.lite.*:UserWarning"),
    pytest.mark.filterwarnings("ignore:Statistics for quantized inputs:UserWarning"),
]

PRECISIONS = ["float32", "float16", "dynamic-int8", "int8", "int16x8"]
INTEGERS = {"int8": np.int8, "int16x8": np.int16}
PARAMETERS = 9 * 16 + 16 + 9 * 16 * 32 + 32 + 9 * 32 * 64 + 64 + 256 * 10 + 10


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """The folder of an export that would have failed had it asked for the held-out samples."""
    folder = tmp_path_factory.mktemp("tflite")
    return folder, export(dataclasses.replace(MODEL, test_samples=forbidden), folder, quiet)


@pytest.fixture(scope="module")
def files(exported):
    return {precision: exported[0] / f"digits_cnn_{precision}.tflite" for precision in PRECISIONS}


@pytest.fixture(scope="module")
def truth():
    import torch

    with torch.inference_mode():
        return load_source(MODEL)(torch.from_numpy(MODEL.samples().inputs)).numpy()


@pytest.fixture(scope="module")
def outputs(files):
    return {
        name: predict(path, "tflite", MODEL.samples().named, ["logits"])["logits"]
        for name, path in files.items()
    }


def written(spec, folder, precision):
    """One precision alone, written as an export writes it after others."""
    path = folder / f"{spec.name}_{precision}.tflite"
    write_by_road(spec, folder / "made", quiet, Asked(spec.name))
    assert write_flatbuffer(spec, folder / "made", path, precision, quantise.representative(spec)) is None
    return path


def accuracy(outputs):
    return (outputs.argmax(axis=1) == MODEL.samples().labels).mean()


def test_all_precisions_are_listed_and_nothing_else_is_left_behind(exported):
    folder, entries = exported
    assert [(e.path, e.format, e.precision) for e in entries] == [
        (f"digits_cnn_{precision}.tflite", "tflite", precision) for precision in PRECISIONS
    ]
    assert all(isinstance(entry, Exported) and entry.export_s > 0 for entry in entries)
    assert sorted(p.name for p in folder.iterdir()) == sorted(e.path for e in entries)


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-4), ("float16", 0.1)])
def test_the_floating_ones_give_the_source_models_outputs(outputs, truth, precision, tolerance):
    np.testing.assert_allclose(outputs[precision], truth, rtol=tolerance / 10, atol=tolerance)


@pytest.mark.parametrize("precision", PRECISIONS[2:])
def test_the_quantised_ones_keep_accuracy_and_agree(outputs, truth, precision):
    assert accuracy(truth) - accuracy(outputs[precision]) <= 0.01
    assert (outputs[precision].argmax(axis=1) == truth.argmax(axis=1)).mean() >= 0.98
    assert not np.array_equal(outputs[precision], outputs["float32"])


@pytest.mark.parametrize("precision", PRECISIONS)
def test_tensorflows_own_interpreter_reads_the_same_file_and_agrees(files, outputs, precision):
    """An independent runtime and an independent loop, so not one line of ours in between."""
    import tensorflow as tf

    interpreter = tf.lite.Interpreter(model_content=files[precision].read_bytes(), num_threads=1)
    interpreter.allocate_tensors()
    (source,), (sink,) = interpreter.get_input_details(), interpreter.get_output_details()
    for image, ours in zip(MODEL.samples().inputs[:20], outputs[precision][:20], strict=True):
        value = image[None]
        if precision in INTEGERS:
            scale, zero = source["quantization"]
            value = np.round(value / scale + zero).astype(INTEGERS[precision])
        interpreter.set_tensor(source["index"], value)
        interpreter.invoke()
        got = interpreter.get_tensor(sink["index"])[0].astype(np.float32)
        step = 1e-3
        if precision in INTEGERS:
            scale, zero = sink["quantization"]
            got, step = (got - zero) * scale, scale * 1.01
        np.testing.assert_allclose(ours, got, atol=step)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("threads", [1, 2])
def test_an_open_model_agrees_with_predict(files, outputs, precision, threads):
    model = open_model(files[precision], "tflite", threads, ["logits"])
    for sample, expected in zip(MODEL.samples().inputs[:5], outputs[precision][:5], strict=True):
        model.set_inputs({"image": sample})
        model.invoke()
        assert model.outputs()["logits"].dtype == np.float32
        np.testing.assert_allclose(model.outputs()["logits"], expected, atol=1e-4)


def test_samples_of_another_shape_are_refused(files):
    with pytest.raises(GateError, match=r"takes samples of shape \(8, 8, 1\), given \(4, 4, 1\)"):
        predict(files["int8"], "tflite", {"image": np.zeros((1, 4, 4, 1), np.float32)}, ["logits"])


def test_full_int8_is_at_most_thirty_percent_of_float32(files):
    sizes = {precision: path.stat().st_size for precision, path in files.items()}
    assert sizes["int8"] <= 0.30 * sizes["float32"]
    assert sizes["float16"] < 0.53 * sizes["float32"]
    assert sizes["dynamic-int8"] <= 0.30 * sizes["float32"]
    assert min(sizes.values()) > PARAMETERS


@pytest.mark.parametrize("precision", PRECISIONS)
def test_buffers_are_aligned_as_the_schema_asks(files, precision):
    content = files[precision].read_bytes()
    buffers = [table for table in Table.root(content).tables(4) if table.has(0)]
    assert len(buffers) > 8
    assert [table.start(0) % 16 for table in buffers] == [0] * len(buffers)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_integers_go_in_and_out_of_the_full_ones_only(files, precision):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(files[precision]))
    (source,), (sink,) = interpreter.get_input_details(), interpreter.get_output_details()
    assert source["dtype"] == sink["dtype"] == INTEGERS.get(precision, np.float32)
    assert (source["name"], sink["name"]) == ("image", "logits")
    assert source["shape"].tolist() == [1, 8, 8, 1]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_signature_takes_and_gives_tensors_by_the_models_names(files, outputs, precision):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(files[precision]), num_threads=1)
    assert interpreter.get_signature_list() == {
        "serving_default": {"inputs": ["image"], "outputs": ["logits"]}
    }
    runner = interpreter.get_signature_runner("serving_default")
    source, sink = runner.get_input_details()["image"], runner.get_output_details()["logits"]
    value = MODEL.samples().inputs[:1]
    if precision in INTEGERS:
        scale, zero = source["quantization"]
        value = np.round(value / scale + zero).astype(INTEGERS[precision])
    logits = runner(image=value)["logits"].astype(np.float32)
    if precision in INTEGERS:
        logits = (logits - sink["quantization"][1]) * sink["quantization"][0]
    np.testing.assert_allclose(logits[0], outputs[precision][0], atol=1e-4)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_what_is_inside(files, precision):
    found = inspect(files[precision], "tflite")
    assert found.parameters_count == PARAMETERS
    # float16 has a DEQUANTIZE for each of its eight tables.
    assert found.ops_count == (15 if precision == "float16" else 7)
    if precision == "int16x8":
        assert (found.delegated_ops_count, found.delegate) == (0, None)
    else:
        assert (found.delegated_ops_count, found.delegate) == (found.ops_count, "XNNPACK")


def test_an_operation_that_xnnpack_lacks_is_not_counted_as_delegated(tmp_path):
    import tensorflow as tf

    spec = computing(lambda x: tf.nn.relu(tf.cumsum(tf.nn.relu(x), axis=1)) * 2, (4,))
    found = inspect(written(spec, tmp_path, "float32"), "tflite")
    assert found.delegate == "XNNPACK"
    assert 0 < found.delegated_ops_count == found.ops_count - 1


def test_a_factor_without_dimensions_is_one_parameter(tmp_path):
    entries = export(computing(lambda x: x * 0.37, (4,)), tmp_path, quiet)
    counts = [inspect(tmp_path / entry.path, "tflite").parameters_count for entry in entries]
    assert counts == [1] * len(PRECISIONS)


def test_two_exports_write_the_same_bytes(files, whole_export):
    other = whole_export.folder / MODEL.name / "tflite"
    for path in files.values():
        assert (other / path.name).read_bytes() == path.read_bytes(), path.name


def test_calibration_draws_training_samples_once_each_and_few():
    training = np.broadcast_to(np.arange(1000, dtype=np.float32).reshape(-1, 1, 1, 1), (1000, 8, 8, 1))
    spec = with_training(training)
    drawn = [one["image"] for one in quantise.representative(spec)()]
    assert {one.shape for one in drawn} == {(1, 8, 8, 1)}
    values = [float(one[0, 0, 0, 0]) for one in drawn]
    assert len(set(values)) == len(values) == CALIBRATION_COUNT <= 300
    assert values == [float(one["image"][0, 0, 0, 0]) for one in quantise.representative(spec)()]
    assert len(list(quantise.representative(with_training(training[:7]))())) == 7


def test_without_training_samples_full_integers_are_listed_with_the_reason(tmp_path):
    entries = export(dataclasses.replace(MODEL, train_samples=None), tmp_path, quiet)
    refused = {entry.precision: entry.reason for entry in entries if isinstance(entry, NotExported)}
    assert list(refused) == ["int8", "int16x8"]
    assert all("digits_cnn has no training samples" in reason for reason in refused.values())
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize(("pixel", "drop"), [(0, 0.5), (16, 0.05)])
def test_a_broken_calibration_makes_a_file_that_is_visibly_wrong(outputs, tmp_path, pixel, drop):
    path = written(with_training(np.full((50, 8, 8, 1), pixel)), tmp_path, "int8")
    broken = predict(path, "tflite", MODEL.samples().named, ["logits"])["logits"]
    assert accuracy(outputs["int8"]) - accuracy(broken) > drop


def test_operations_without_a_builtin_are_refused_by_name(tmp_path):
    import tensorflow as tf

    spec = computing(lambda x: tf.linalg.inv(x) + tf.math.digamma(x), (4, 4))
    with pytest.raises(ModelError, match=r"tiny: .* no built-in operation for Digamma, MatrixInverse; Flex"):
        export(spec, tmp_path, quiet)
    assert list(tmp_path.iterdir()) == []


def test_no_file_holds_a_custom_operation(files):
    for path in files.values():
        codes = Table.root(path.read_bytes()).tables(1)
        assert codes
        assert not any(code.has(1) for code in codes)  # custom_code


def of_pixels():
    """A model of uint8 images, given as a twin alone."""

    def twin(_state):
        import keras

        image = keras.Input((6, 6, 3), dtype="uint8", name="image")
        scaled = keras.layers.Rescaling(1 / 127.5, offset=-1)(keras.ops.cast(image, "float32"))
        seen = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3, activation="relu")(scaled))
        return keras.Model(image, keras.layers.Dense(2, name="scores")(seen))

    def fixed(state):
        net = twin(state)
        draw = np.random.default_rng(2)
        net.set_weights([draw.normal(size=weight.shape) for weight in net.get_weights()])
        return net

    flat = np.random.default_rng(1).integers(0, 256, (40, 1, 1, 3), np.uint8)
    samples = Samples(np.broadcast_to(flat, (40, 6, 6, 3)).copy())
    return dataclasses.replace(
        MODEL,
        name="camera",
        labels=(),
        inputs=(TensorSpec("image", "uint8", (None, 6, 6, 3)),),
        outputs=(TensorSpec("scores", "float32", (None, 2)),),
        build_keras=fixed,
        test_samples=lambda: samples,
        train_samples=lambda: samples,
    )


def test_pixels_go_in_as_they_are_also_where_everything_else_is_quantised(tmp_path):
    spec = of_pixels()
    entries = {entry.precision: entry for entry in export(spec, tmp_path, quiet)}
    assert isinstance(entries["int8"], Exported)
    given = spec.samples().named
    expected = np.asarray(spec.build_keras(None)(given["image"], training=False))
    for precision, allowed in (("float32", 1e-4), ("float16", 0.01), ("int8", 0.2)):
        got = predict(tmp_path / entries[precision].path, "tflite", given, ["scores"])["scores"]
        assert np.sqrt(np.square(got - expected).mean()) <= allowed * expected.std(), precision
    with pytest.raises(GateError, match="takes uint8, given float32 for its input 'image'"):
        floats = {"image": given["image"].astype(np.float32)}
        predict(tmp_path / entries["float32"].path, "tflite", floats, ["scores"])


def test_a_precision_that_cannot_be_had_is_listed_with_its_reason(tmp_path):
    import tensorflow as tf

    entries = export(computing(lambda x: tf.cumsum(x, axis=1), (4,)), tmp_path, quiet)
    assert [entry for entry in entries if isinstance(entry, NotExported)] == [
        NotExported("tflite", "int8", "the converter left CUMSUM in floating point"),
        NotExported("tflite", "int16x8", "Quantization to 16x8-bit not yet supported for op: 'CUMSUM'."),
    ]
    written = [entry.path for entry in entries if isinstance(entry, Exported)]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(written)
    assert {entry.precision for entry in entries} == set(PRECISIONS)


def metadata(path):
    root = Table.root(path.read_bytes())
    (entry,) = [table for table in root.tables(6) if table.text(0) == "TFLITE_METADATA"]
    content = root.tables(4)[entry.number(1)].bytes(0)
    assert content[4:8] == b"M001"
    return Table.root(content)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_metadata_says_what_the_tensors_are(files, precision):
    model = metadata(files[precision])
    assert model.text(0) == "digits_cnn"
    assert model.text(1) == f"{precision}, model digest {MODEL.digest}"
    assert model.text(7) == "1.0.0"
    (graph,) = model.tables(3)
    (source,), (sink,) = graph.tables(2), graph.tables(3)
    assert (source.text(0), sink.text(0)) == ("image", "logits")
    content = source.table(3)
    assert (content.byte(0), content.table(1).byte(0)) == (2, 2)  # ImageProperties, GRAYSCALE
    (unit,) = source.tables(4)
    assert unit.byte(0) == 1  # NormalizationOptions
    assert (unit.table(1).floats(0), unit.table(1).floats(1)) == ([0.0], [1.0])  # mean, std
    assert (source.table(5).floats(0), source.table(5).floats(1)) == ([16.0], [0.0])  # max, min
    (labels,) = sink.tables(6)
    assert (labels.text(0), labels.byte(2)) == ("labels.txt", 2)  # TENSOR_AXIS_LABELS


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_labels_are_a_file_inside(files, precision):
    with zipfile.ZipFile(files[precision]) as archive:
        assert archive.namelist() == ["labels.txt"]
        assert archive.read("labels.txt").decode().splitlines() == list(MODEL.labels)
        assert archive.testzip() is None
    with zipfile.ZipFile(io.BytesIO(files[precision].read_bytes())) as archive:
        assert archive.infolist()[0].header_offset > 4 * 1024


def test_an_input_that_is_no_image_is_a_feature(tmp_path):
    import tensorflow as tf

    (graph,) = metadata(written(computing(tf.nn.relu, (4,)), tmp_path, "float32")).tables(3)
    assert graph.tables(2)[0].table(3).byte(0) == 1  # FeatureProperties


def test_the_runtime_library_is_what_a_process_really_maps(files):
    """Seen from the kernel's list of mapped files; libLiteRt.so is there for accelerators only."""
    found = runtime_library("tflite")
    code = (
        "import sys; from ai_edge_litert.interpreter import Interpreter\n"
        "Interpreter(model_path=sys.argv[1]).allocate_tensors()\n"
        "print({l.split()[-1] for l in open('/proc/self/maps') if 'ai_edge_litert' in l})"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, str(files["int8"])], capture_output=True, text=True, check=True
    )
    mapped = {name.rsplit("/", 1)[-1] for name in result.stdout.strip("{}\n").replace("'", "").split(", ")}
    assert set(LIBRARIES) <= mapped <= {*LIBRARIES, "libLiteRt.so"}
    assert found.size_bytes > 5_000_000
    assert found.version in found.source
    assert all(name in found.source for name in LIBRARIES)

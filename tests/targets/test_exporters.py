"""Export and reload: what is written is small, whole, and gives the source model's outputs."""

import dataclasses
import hashlib
import json
import os
import shutil
import zipfile

import numpy as np
import pytest

from models.digits_cnn import MODEL
from models.spec import ModelError
from models.weights import load_source
from pipelines.artifacts import contents
from pipelines.artifacts import manifest as artifact
from pipelines.artifacts.owner import OWNER_NAME
from pipelines.errors import GateError
from pipelines.export import stage as exporting
from pipelines.targets.registry import ORDINARY, TARGETS
from pipelines.verify import stage as verifying
from pipelines.verify.proof import OUTPUTS_NAME, PROOF_NAME

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*tf.lite.*:UserWarning"),
]

ARTIFACTS = [
    ("torchserve", "torchscript", "digits_cnn.pt"),
    ("torchserve", "torchserve-archive", "digits_cnn.mar"),
    ("tfserving", "saved-model", "digits_cnn/1"),
    ("tflite", "tflite", "digits_cnn_float32.tflite"),
]
# Held to accuracy or in other ways in test_tflite_export.py, test_executorch_export.py, test_onnx_target.py.
FOR_DEVICES = [
    *(
        ("tflite", "tflite", f"digits_cnn_{precision}.tflite")
        for precision in ("float16", "dynamic-int8", "int8", "int16x8")
    ),
    *(
        ("executorch", "pte", f"digits_cnn_{precision}_{variant}.pte")
        for precision in ("float32", "int8")
        for variant in ("portable", "xnnpack")
    ),
    ("executorch", "ptl", "digits_cnn_float32.ptl"),
    ("onnx", "onnx", "digits_cnn_float32.onnx"),
]


def quiet(*_):
    pass


RATIO_LIMIT = 1.2


@pytest.fixture(scope="module")
def exported(whole_export):
    """The artifacts folder of a whole export, in processes of its own as people do it."""
    return whole_export.folder, whole_export.result, whole_export.said


@pytest.fixture(scope="module")
def root(exported):
    return exported[0] / "digits_cnn"


@pytest.fixture(scope="module")
def truth():
    import torch

    with torch.inference_mode():
        return load_source(MODEL)(torch.from_numpy(MODEL.samples().inputs)).numpy()


def predict(root, target, artifact_format, path, inputs):
    module, function = TARGETS[target].runtime.split(":")
    found = getattr(__import__(module, fromlist=[function]), function)
    return found(root / target / path, artifact_format, {"image": inputs}, ["logits"])["logits"]


def test_every_target_is_exported_by_a_process_per_framework(exported, root):
    _, result, said = exported
    assert sorted(result.exported) == sorted(ORDINARY)
    assert set(result.reasons.values()) == {"not exported yet"}
    frameworks = {target.framework for target in TARGETS.values()}
    assert set(result.pipeline_s) == frameworks
    # They run at the same time.
    assert result.elapsed_s <= RATIO_LIMIT * max(result.pipeline_s.values()) + 0.5
    assert ("torch", "done") in said
    assert {name for name, *_ in said} == frameworks
    assert sorted(path.name for path in root.iterdir()) == sorted(
        [".lock", OWNER_NAME, PROOF_NAME, OUTPUTS_NAME, *ORDINARY]
    )
    assert [name for name, manifest in result.manifests.items() if manifest.failure] == []


def test_the_manifests_say_what_is_on_disk(root):
    found = []
    for target in ORDINARY:
        manifest = artifact.require_manifest(root / target, MODEL)
        for one in manifest.artifacts:
            path = root / target / one.path
            found.append((target, one.format, one.path))
            assert one.size_bytes == contents.size_bytes(path) > 25_000
            assert 0 < one.gzip_bytes <= one.size_bytes
            assert one.sha256 == contents.sha256(path)
            assert one.export_s > 0
            assert set(one.toolchain) == set(TARGETS[target].toolchain)
    assert {*ARTIFACTS, *FOR_DEVICES} <= set(found)


@pytest.mark.parametrize(("target", "artifact_format", "path"), ARTIFACTS)
def test_every_artifact_gives_the_source_models_outputs(root, truth, target, artifact_format, path):
    got = predict(root, target, artifact_format, path, MODEL.samples().inputs)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, truth, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("target", "artifact_format", "path"), ARTIFACTS)
@pytest.mark.parametrize("count", [1, 3, 7])
def test_every_artifact_takes_any_batch_size(root, truth, target, artifact_format, path, count):
    got = predict(root, target, artifact_format, path, MODEL.samples().inputs[5 : 5 + count])
    np.testing.assert_allclose(got, truth[5 : 5 + count], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("target", "artifact_format", "path"), ARTIFACTS)
def test_an_artifact_that_is_truncated_does_not_load(root, tmp_path, target, artifact_format, path):
    source, copy = root / target / path, tmp_path / "copy"
    if source.is_dir():
        shutil.copytree(source, copy)
        broken = copy / "saved_model.pb"
    else:
        broken = shutil.copyfile(source, copy)
    os.truncate(broken, broken.stat().st_size // 3)
    module, function = TARGETS[target].runtime.split(":")
    found = getattr(__import__(module, fromlist=[function]), function)
    with pytest.raises(GateError) as caught:
        found(copy, artifact_format, {"image": MODEL.samples().inputs[:2]}, ["logits"])
    assert str(copy) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_nothing_is_exported_twice_until_something_changes(exported, root):
    folder, _, _ = exported
    before = {
        path: hashlib.sha256(path.read_bytes()).hexdigest() for path in root.rglob("*") if path.is_file()
    }
    result = exporting.export("digits_cnn", folder, quiet)
    assert result.exported == ()
    assert result.pipeline_s == {}
    after = {
        path: hashlib.sha256(path.read_bytes()).hexdigest() for path in root.rglob("*") if path.is_file()
    }
    assert after == before


def test_another_export_of_the_same_model_gives_the_same_saved_model(exported, root, tmp_path):
    exporting.export("digits_cnn", tmp_path, quiet, targets=["tfserving"])
    first, second = (folder / "tfserving" / "digits_cnn" / "1" for folder in (root, tmp_path / "digits_cnn"))
    files = {path.relative_to(first) for path in first.rglob("*") if path.is_file()}
    assert {"saved_model.pb", "fingerprint.pb"} <= {path.name for path in files}
    assert [path for path in files if (first / path).read_bytes() != (second / path).read_bytes()] == []


def test_a_damaged_artifact_is_exported_again_and_only_its_target(exported, tmp_path):
    copy = tmp_path / "artifacts"
    shutil.copytree(exported[0], copy)
    damaged = copy / "digits_cnn/torchserve/digits_cnn.pt"
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    result = exporting.export("digits_cnn", copy, quiet)
    assert result.exported == ("torchserve",)
    assert "digits_cnn.pt" in result.reasons["torchserve"]
    assert artifact.damage(copy / "digits_cnn/torchserve", result.manifests["torchserve"]) is None


def test_verify_says_yes_of_every_artifact(whole_export):
    """The gate as a whole, in its three processes."""
    assert whole_export.verified.returncode == 0, whole_export.verified.stderr
    facts = json.loads(whole_export.verified.stdout)
    assert {one["subject"] for one in facts["parity"]} >= {
        f"{t}/{p}" for t, _, p in (*ARTIFACTS, *FOR_DEVICES)
    }
    assert all(one["samples_count"] == 450 and one["passed"] for one in facts["parity"])
    assert facts["source_accuracy"] > 0.98


def test_verify_says_no_when_a_weight_changes(exported, tmp_path):
    """The weight is changed and the manifest made to fit."""
    import torch

    copy = tmp_path / "artifacts"
    shutil.copytree(exported[0], copy)
    folder = copy / "digits_cnn/torchserve"
    source = load_source(MODEL)
    with torch.no_grad():
        source.classifier.bias[3] += 0.01
    frozen = torch.jit.freeze(torch.jit.trace(source, torch.zeros(2, 8, 8, 1)))
    torch.jit.save(frozen, folder / "digits_cnn.pt")
    manifest = artifact.read_manifest(folder)
    first, *rest = manifest.artifacts
    changed = folder / first.path
    fitting = first.model_copy(
        update={"sha256": contents.sha256(changed), "size_bytes": contents.size_bytes(changed)}
    )
    fitting_files = contents.file_digests(folder, [a.path for a in manifest.artifacts])
    artifact.write_manifest(
        folder, manifest.model_copy(update={"artifacts": (fitting, *rest), "files": fitting_files})
    )
    failed = verifying.verify("digits_cnn", copy, quiet, ["torchserve", "onnx"])
    with pytest.raises(GateError) as caught:
        verifying.require(failed)
    assert str(caught.value).startswith("torchserve/digits_cnn.pt is not the source model: sample ")
    assert "output [3]: expected" in str(caught.value)
    assert "450 of 450 samples are outside tolerance" in str(caught.value)


def test_the_archive_carries_handler_signature_and_script(root):
    with zipfile.ZipFile(root / "torchserve/digits_cnn.mar") as archive:
        names = set(archive.namelist())
        signature = json.loads(archive.read("signature.json"))
        script = archive.read("digits_cnn.pt")
    assert {
        "handler.py",
        "tandem_bodies.py",
        "signature.json",
        "digits_cnn.pt",
        "MAR-INF/MANIFEST.json",
    } <= names
    assert script == (root / "torchserve/digits_cnn.pt").read_bytes()
    assert signature["inputs"] == [{"name": "image", "shape": [8, 8, 1], "dtype": "float32"}]
    assert signature["labels"] == list("0123456789")
    assert signature["model_digest"] == MODEL.digest
    assert not (root / "torchserve/signature.json").exists()


def test_the_torchscript_is_frozen(root):
    import torch

    module = torch.jit.load(root / "torchserve/digits_cnn.pt")
    assert not list(module.parameters())
    assert "batch_norm" not in str(module.inlined_graph) or not module.training


def test_the_saved_model_is_lean_and_named_like_the_model(root):
    import tensorflow as tf

    folder = root / "tfserving/digits_cnn/1"
    loaded = tf.saved_model.load(str(folder))
    assert list(loaded.signatures) == ["serving_default"]
    serve = loaded.signatures["serving_default"]
    ((name, tensor),) = serve.structured_input_signature[1].items()
    assert (name, tensor.shape.as_list(), tensor.dtype.name) == ("image", [None, 8, 8, 1], "float32")
    ((output, made),) = serve.structured_outputs.items()
    assert (output, made.shape.as_list()) == ("logits", [None, 10])
    assert not loaded.graph_debug_info.files if hasattr(loaded.graph_debug_info, "files") else True
    assert not (folder / "assets").exists()


def operations(root):
    import tensorflow as tf
    from tensorflow.core.protobuf import saved_model_pb2

    saved = saved_model_pb2.SavedModel.FromString(
        (root / "tfserving/digits_cnn/1/saved_model.pb").read_bytes()
    )
    graph = saved.meta_graphs[0].graph_def
    assert tf.__version__ == saved.meta_graphs[0].meta_info_def.tensorflow_version
    return [
        node.op for nodes in (graph.node, *(f.node_def for f in graph.library.function)) for node in nodes
    ]


def test_the_served_graph_has_constants_and_folded_normalisation_only(root):
    found = operations(root)
    assert not {"VarHandleOp", "ReadVariableOp", "FusedBatchNormV3", "AssignVariableOp"} & set(found)
    assert found.count("Conv2D") == 3
    assert found.count("MatMul") == 1


def test_the_warm_up_records_are_requests_to_this_model(root):
    import tensorflow as tf
    from tensorflow_serving.apis import prediction_log_pb2

    path = root / "tfserving/digits_cnn/1/assets.extra/tf_serving_warmup_requests"
    batches = []
    for record in tf.data.TFRecordDataset(str(path)):
        request = prediction_log_pb2.PredictionLog.FromString(record.numpy()).predict_log.request
        assert (request.model_spec.name, request.model_spec.signature_name) == (
            "digits_cnn",
            "serving_default",
        )
        batches.append(tf.make_ndarray(request.inputs["image"]).shape)
    assert set(batches) == {(1, 8, 8, 1), (8, 8, 8, 1)}
    assert len(batches) <= 1000  # TensorFlow Serving refuses more


def test_the_flatbuffer_needs_no_flex_delegate(root):
    content = (root / "tflite/digits_cnn_float32.tflite").read_bytes()
    assert content[4:8] == b"TFL3"
    assert b"Flex" not in content


def test_a_model_without_a_twin_is_refused_with_the_way_out():
    from pipelines.targets.tfserving.export import frozen_function

    with pytest.raises(ModelError, match="digits_cnn has no Keras twin; give its ModelSpec a build_keras"):
        frozen_function(dataclasses.replace(MODEL, build_keras=None))


def test_an_archive_whose_handler_refuses_is_no_parity(root, tmp_path):
    from pipelines.targets.torchserve.runtime import predict as run

    with pytest.raises(
        GateError, match=r"refused the held-out samples: .*shape \(8, 8\), expected \(8, 8, 1\)"
    ):
        flat = {"image": np.zeros((2, 8, 8), np.float32)}
        run(root / "torchserve/digits_cnn.mar", "torchserve-archive", flat, ["logits"])

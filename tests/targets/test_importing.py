"""`tandem import` on real files: each kind alone and with others, and a file of another model."""

import io
import shutil
import warnings
import zipfile

import numpy as np
import onnx
import pytest
import torch
from ai_edge_litert.interpreter import Interpreter
from tasks_here import in_this_process
from torch import nn

from models.spec import load_model
from pipelines.artifacts import manifest as artifact
from pipelines.errors import GateError, RequestError
from pipelines.export import stage as exporting
from pipelines.importing import stage
from pipelines.targets.tflite import flatbuffer
from pipelines.targets.tflite.runtime import by_name
from pipelines.verify import stage as verifying

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning"),
]


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    for module in (stage, exporting, verifying):
        monkeypatch.setattr(module, "run_tasks", in_this_process)


class Net(nn.Module):
    """Two inputs, two outputs, one of them called otherwise in every file."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 3)

    def forward(self, left, right):
        return self.fc(left) + right, (left * right.sum(1, keepdim=True)).sum(1)


EXAMPLE = torch.ones(2, 4), torch.ones(2, 3)


def write_onnx(module, path, inputs, outputs):
    axes = {name: {0: "batch"} for name in (*inputs, *outputs)}
    names = {"input_names": inputs, "output_names": outputs}
    torch.onnx.export(module, EXAMPLE, path, dynamo=False, opset_version=17, dynamic_axes=axes, **names)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """One small model as TorchScript, ONNX and an exported program, and as the ONNX of another one."""
    folder = tmp_path_factory.mktemp("files")
    torch.manual_seed(0)
    net, other = Net().eval(), Net().eval()
    batch = {0: torch.export.Dim.DYNAMIC}
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.freeze(torch.jit.trace(net, EXAMPLE)), folder / "net.pt")
        torch.export.save(
            torch.export.export(net, EXAMPLE, dynamic_shapes=(batch, batch)), folder / "net.pt2"
        )
        write_onnx(net, folder / "net.onnx", ["left", "right"], ["scores", "size"])
        write_onnx(net, folder / "renamed.onnx", ["scores", "b"], ["left", "d"])
        write_onnx(other, folder / "other.onnx", ["left", "right"], ["scores", "size"])
    draw = np.random.default_rng(1)
    arrays = {"left": draw.normal(size=(9, 4)), "right": draw.normal(size=(9, 3)).astype(np.float32)}
    np.savez(folder / "samples.npz", **arrays)
    return folder


def take_in(root, files, samples=None, name="net", **more):
    return stage.take_in(stage.ImportRequest(name, files, root, samples, **more), lambda *_: None)


def test_a_program_and_an_onnx_file_of_one_model_are_imported_and_verified(tmp_path, files):
    given = {"torchscript": files / "net.pt", "onnx": files / "renamed.onnx"}
    imported = take_in(tmp_path, given, files / "samples.npz")
    assert (imported.given.reference, imported.given.random, imported.samples_count) == (
        "torchscript",
        False,
        9,
    )
    assert imported.verified.failures == ()
    spec = load_model(str(tmp_path / "net"))
    assert [(one.name, one.shape) for one in spec.inputs] == [("left", (None, 4)), ("right", (None, 3))]
    assert [(one.name, one.shape) for one in spec.outputs] == [("output_0", (None, 3)), ("output_1", (None,))]
    assert spec.given.parameters_count == 15
    manifest = artifact.require_manifest(tmp_path / "net" / "onnx", spec)
    assert manifest.artifacts[0].road == "imported, with its tensors renamed"
    graph = onnx.load(tmp_path / "net" / "onnx" / manifest.artifacts[0].path).graph
    assert [one.name for one in (*graph.input, *graph.output)] == ["left", "right", "output_0", "output_1"]
    assert [path.name for path in tmp_path.iterdir()] == ["net"]
    torchserve = tmp_path / "net" / "torchserve"
    assert (torchserve / "net.pt").read_bytes() == (files / "net.pt").read_bytes()
    made = exporting.export(str(tmp_path / "net"), tmp_path, print, targets=["python"])
    assert made.manifests["python"].artifacts[0].road == "imported, with its signature added"
    assert verifying.verify(str(tmp_path / "net"), tmp_path, print).failures == ()


def test_a_file_of_another_model_is_found_and_nothing_is_left(tmp_path, files):
    given = {"torchscript": files / "net.pt", "onnx": files / "other.onnx"}
    take_in(tmp_path, {"torchscript": files / "net.pt"}, files / "samples.npz")
    before = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*"))
    imported = take_in(tmp_path, given, files / "samples.npz", force=True)
    assert list(imported.verified.mismatches) == ["onnx/net_float32.onnx"]
    with pytest.raises(GateError, match="nothing was imported: onnx/net_float32"):
        stage.require_same(imported)
    assert sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*")) == before


def test_an_exported_program_says_everything_itself_and_is_the_reference(tmp_path, files):
    imported = take_in(tmp_path, {"onnx": files / "net.onnx", "pt2": files / "net.pt2"})
    assert (imported.given.reference, imported.given.random) == ("pt2", True)
    assert imported.verified.failures == ()
    assert [one.name for one in imported.spec.inputs] == ["left", "right"]
    alone = take_in(tmp_path, {"pt2": files / "net.pt2"}, name="alone")
    assert alone.verified.records == {}
    made = exporting.export(str(tmp_path / "alone"), tmp_path, print, targets=["torchserve", "onnx"])
    assert [bool(one.artifacts) for one in made.manifests.values()] == [True, True]
    assert verifying.verify(str(tmp_path / "alone"), tmp_path, print).failures == ()


def test_an_onnx_file_alone_is_its_own_reference_and_other_targets_say_what_is_missing(tmp_path, files):
    imported = take_in(tmp_path, {"onnx": files / "net.onnx"})
    assert (imported.given.reference, imported.verified.failures) == ("onnx", ())
    made = exporting.export(str(tmp_path / "net"), tmp_path, print, targets=["torchserve", "onnx"])
    assert made.exported == ("torchserve",)
    assert "imported as onnx; import a file for it" in made.manifests["torchserve"].failure
    assert made.manifests["onnx"].failure is None


def test_weights_of_an_onnx_file_that_are_elsewhere_on_the_disk_are_not_read(tmp_path, files):
    model = onnx.load(files / "net.onnx")
    outside = onnx.helper.make_tensor("outside", onnx.TensorProto.FLOAT, [2], bytes(8), raw=True)
    onnx.external_data_helper.set_external_data(outside, "../../etc/passwd")
    outside.ClearField("raw_data")
    model.graph.node.append(onnx.helper.make_node("Constant", [], ["c"], value=outside))
    (tmp_path / "evil.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(GateError, match=r"weights in another file \('\.\./\.\./etc/passwd'\)"):
        take_in(tmp_path / "artifacts", {"onnx": tmp_path / "evil.onnx"})


def test_a_program_without_shapes_asks_for_samples(tmp_path, files):
    with pytest.raises(RequestError, match=r"does not say the shapes of its inputs .left, right.*--samples"):
        take_in(tmp_path, {"torchscript": files / "net.pt"})
    assert list(tmp_path.iterdir()) == []


def test_an_archive_is_taken_as_it_is_and_one_with_its_own_handler_only_on_trust(tmp_path, artifacts):
    ours = artifacts / "digits_cnn" / "torchserve" / "digits_cnn.mar"
    onnx_file = artifacts / "digits_cnn" / "onnx" / "digits_cnn_float32.onnx"
    imported = take_in(tmp_path, {"mar": ours, "onnx": onnx_file})
    assert (imported.given.reference, imported.verified.failures) == ("mar", ())
    assert (tmp_path / "net" / "torchserve" / "net.mar").read_bytes() == ours.read_bytes()
    with zipfile.ZipFile(ours) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    own = tmp_path / "own.mar"
    with zipfile.ZipFile(own, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content + b"# mine\n" if name == "handler.py" else content)
    with pytest.raises(RequestError, match=r"its own handler handler\.py; say --trust"):
        take_in(tmp_path, {"mar": own, "onnx": onnx_file}, name="own")
    trusted = take_in(tmp_path, {"mar": own, "onnx": onnx_file}, name="own", trust=True)
    assert trusted.given.find("mar").findings == ("its own handler handler.py",)
    assert trusted.verified.failures == ()


def test_tflite_files_are_read_with_their_precision(tmp_path, artifacts):
    folder = artifacts / "digits_cnn" / "tflite"
    inputs = np.load(io.BytesIO(samples_of_digits()))["image"]
    np.save(tmp_path / "samples.npy", inputs)
    found = {}
    for precision in ("float32", "float16", "dynamic-int8", "int8", "int16x8"):
        given = {"tflite": folder / f"digits_cnn_{precision}.tflite"}
        imported = take_in(tmp_path, given, tmp_path / "samples.npy", name=precision.replace("-", "_"))
        found[precision] = imported.given.files[0].precision
        assert imported.verified.failures == ()
        assert [(one.dtype, one.shape) for one in imported.spec.inputs] == [("float32", (None, 8, 8, 1))]
    assert list(found) == list(found.values())
    model = flatbuffer.read((folder / "digits_cnn_float32.tflite").read_bytes())
    flatbuffer.rename_all(model, {"image": "x"}, {"logits": "y"})
    interpreter = Interpreter(model_content=flatbuffer.pack(model))
    assert [list(by_name(interpreter, what)) for what in ("input", "output")] == [["x"], ["y"]]


def samples_of_digits():
    file = io.BytesIO()
    np.savez(file, image=load_model("digits_cnn").samples().named["image"][:40])
    return file.getvalue()


def test_a_saved_model_is_copied_with_its_warm_up_or_given_one(tmp_path, artifacts):
    source = tmp_path / "saved"
    shutil.copytree(artifacts / "digits_cnn" / "tfserving" / "digits_cnn" / "1", source)
    shutil.rmtree(source / "assets.extra")
    (source / "assets").mkdir()  # TensorFlow writes it also where there are none
    imported = take_in(tmp_path, {"saved_model": source})
    assert (imported.given.reference, imported.verified.failures) == ("saved_model", ())
    assert imported.given.parameters_count > 0
    manifest = artifact.require_manifest(tmp_path / "net" / "tfserving", imported.spec)
    assert manifest.artifacts[0].road == "imported, with warm-up records added"
    placed = tmp_path / "net" / "tfserving" / "net" / "1"
    assert (placed / "saved_model.pb").read_bytes() == (source / "saved_model.pb").read_bytes()

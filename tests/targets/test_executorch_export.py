"""ExecuTorch programs and the `.ptl`: right, small, calibrated on training samples alone, reproducible."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from executorch_fixture import SHORT, outputs_of

from models.digits_cnn import MODEL
from models.spec import Samples
from models.weights import load_source
from pipelines.targets.calibration import CALIBRATION_COUNT, draw
from pipelines.targets.executorch.export import (
    export,
    folded,
    lower,
    only_needed_patterns,
    sizes_of,
    traced,
)
from pipelines.targets.executorch.quantise import quantiser
from pipelines.targets.exported import Exported, NotExported
from pipelines.targets.tracing import traceable

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]

INT8_SHARE = 0.30
PRECISE = ["float32_portable.pte", "float32_xnnpack.pte", "float32.ptl"]
QUANTISED = ["int8_portable.pte", "int8_xnnpack.pte"]


def accuracy(outputs, labels):
    return float((outputs.argmax(axis=1) == labels).mean())


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """The folder, the entries and what was said, of a model whose test split must not be touched."""
    folder, said = tmp_path_factory.mktemp("executorch"), []
    return folder, export(untestable(MODEL), folder, said.append), said


@pytest.fixture(scope="module")
def truth():
    import torch

    with torch.inference_mode():
        return load_source(MODEL)(torch.from_numpy(MODEL.samples().inputs)).numpy()


def untestable(spec):
    def touched():
        raise AssertionError("the test split was touched")

    return dataclasses.replace(spec, test_samples=touched)


def int8_program(spec):
    """The XNNPACK int8 program alone."""
    return lower(traced(traceable(spec), "int8", sizes_of(spec)), "xnnpack")


def test_every_precision_and_variant_is_written_and_named(exported):
    folder, entries, said = exported
    assert all(isinstance(entry, Exported) for entry in entries)
    assert [(e.path, e.format, e.precision, e.variant) for e in entries] == [
        ("digits_cnn_float32_portable.pte", "pte", "float32", "portable"),
        ("digits_cnn_float32_xnnpack.pte", "pte", "float32", "xnnpack"),
        ("digits_cnn_int8_portable.pte", "pte", "int8", "portable"),
        ("digits_cnn_int8_xnnpack.pte", "pte", "int8", "xnnpack"),
        ("digits_cnn_float32.ptl", "ptl", "float32", None),
    ]
    assert sorted(path.name for path in folder.iterdir()) == sorted(entry.path for entry in entries)
    assert all(entry.export_s > 0 for entry in entries)
    assert "lowering int8 to xnnpack" in said


@pytest.mark.parametrize("name", PRECISE)
def test_float32_gives_the_source_models_outputs(exported, truth, name):
    got = outputs_of(exported[0] / f"digits_cnn_{name}", MODEL.samples().inputs)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, truth, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", QUANTISED)
def test_int8_loses_at_most_a_point_of_accuracy(exported, truth, name):
    samples = MODEL.samples()
    got = outputs_of(exported[0] / f"digits_cnn_{name}", samples.inputs)
    assert not np.allclose(got, truth, rtol=1e-4, atol=1e-4), "int8 as exact as float32 is not int8"
    assert accuracy(truth, samples.labels) - accuracy(got, samples.labels) <= 0.01
    assert (got.argmax(axis=1) == truth.argmax(axis=1)).mean() >= 0.99


def test_int8_for_xnnpack_is_at_most_three_tenths_of_float32(exported):
    sizes = {path.name: path.stat().st_size for path in exported[0].iterdir()}
    whole = sizes["digits_cnn_float32_xnnpack.pte"]
    assert sizes["digits_cnn_int8_xnnpack.pte"] <= INT8_SHARE * whole
    # Weights alone: the rest of the float32 file must not be padding that flatters the share.
    assert whole < 1.05 * 4 * 25_866


def test_the_same_model_gives_the_same_bytes(exported, whole_export):
    # TorchScript numbers the classes it traces: a second `.ptl` differs within one process, not in a new one.
    other = whole_export.folder / MODEL.name / "executorch"
    for path in exported[0].glob("*.pte"):
        assert (other / path.name).read_bytes() == path.read_bytes(), path.name


def test_no_file_tells_where_it_was_made(exported):
    for path in exported[0].iterdir():
        content = path.read_bytes()
        assert str(Path(__file__).parents[2]).encode() not in content
        assert b"write_lite" not in content, "that is a call stack"


def test_calibration_is_the_same_draw_as_tensorflow_lites():
    from pipelines.targets.tflite.quantise import representative

    theirs = [sample["image"][0] for sample in representative(MODEL)()]
    ours = draw(MODEL)["image"]
    assert len(ours) == CALIBRATION_COUNT
    np.testing.assert_array_equal(ours, np.stack(theirs))


def test_calibration_takes_what_there_is():
    few = dataclasses.replace(MODEL, train_samples=lambda: Samples(*SHORT))
    assert len(draw(few)["image"]) == len(SHORT[0])


def test_without_training_samples_int8_is_listed_with_the_reason_and_float32_is_written(tmp_path):
    entries = export(dataclasses.replace(MODEL, train_samples=None), tmp_path, lambda _: None)
    refused = [entry for entry in entries if isinstance(entry, NotExported)]
    assert [(one.precision, one.variant) for one in refused] == [("int8", "portable"), ("int8", "xnnpack")]
    assert all("digits_cnn has no training samples" in one.reason for one in refused)
    assert len(list(tmp_path.iterdir())) == len(entries) - len(refused) == 3


def test_calibration_on_constant_images_shows(tmp_path):
    training = MODEL.train_samples()
    constant = Samples(np.zeros_like(training.inputs), training.labels)
    path = tmp_path / "broken.pte"
    path.write_bytes(int8_program(dataclasses.replace(MODEL, train_samples=lambda: constant)))
    samples = MODEL.samples()
    assert accuracy(outputs_of(path, samples.inputs), samples.labels) < 0.9


def test_a_build_of_torch_that_cannot_write_ptl_is_quoted(monkeypatch, tmp_path):
    import torch

    from pipelines.targets.executorch.lite import write_lite

    def refuse(*_, **__):
        raise RuntimeError("lite interpreter not built\nC++ stack")

    monkeypatch.setattr(torch.jit, "freeze", refuse)
    assert write_lite(traceable(MODEL), tmp_path) == NotExported(
        "ptl", "float32", "this build of torch refuses: lite interpreter not built"
    )
    assert not list(tmp_path.iterdir())


def test_lowering_leaves_the_exporter_as_it_was():
    from executorch.backends.xnnpack import xnnpack_preprocess as step

    from pipelines.targets.executorch.payload import constants_in_payload

    before = step.NamedDataStore, step.serialize_xnnpack_binary
    with pytest.raises(ZeroDivisionError), constants_in_payload():
        assert (step.NamedDataStore, step.serialize_xnnpack_binary) != before
        _ = 1 / 0
    assert (step.NamedDataStore, step.serialize_xnnpack_binary) == before


class Slope(torch.nn.Module):
    """Constants that XNNPACK packs, and two that it reads where they lie: a slope and a summand."""

    def __init__(self):
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.PReLU(4, 0.3))
        self.shift = torch.nn.Parameter(torch.arange(4.0).reshape(1, 4, 1, 1))

    def forward(self, x):
        return self.layers(x) + self.shift


RUN = """
import sys
import torch
from pathlib import Path
from pipelines.targets.executorch.runtime import predict

given = torch.load(sys.argv[2])
answer = predict(Path(sys.argv[1]), "pte", {"x": given["x"].numpy()}, ["y"])["y"]
assert abs(answer - given["y"].numpy()).max() < 1e-5, answer
"""


def test_constants_that_xnnpack_reads_at_every_call_stay_loaded(tmp_path):
    torch.manual_seed(0)
    module, x = Slope().eval(), torch.randn(1, 1, 8, 8)
    program = torch.export.export(module, (x,))
    (tmp_path / "net.pte").write_bytes(lower(program, "xnnpack"))
    with torch.no_grad():
        torch.save({"x": x, "y": module(x)}, tmp_path / "given.pt")
    # In a process of its own: memory that is read after it was freed ends the whole process.
    command = [sys.executable, "-c", RUN, str(tmp_path / "net.pte"), str(tmp_path / "given.pt")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-1000:]


@pytest.mark.parametrize(
    ("operation", "kept"),
    [
        ("relu", {"batch_norm": False, "bilinear_2d": False, "sdpa": False}),
        ("resize", {"batch_norm": False, "bilinear_2d": True, "sdpa": False}),
        ("attend", {"batch_norm": False, "bilinear_2d": False, "sdpa": True}),
        ("softmax", {"batch_norm": False, "bilinear_2d": False, "sdpa": True}),
        ("normalise", {"batch_norm": True, "bilinear_2d": False, "sdpa": False}),
    ],
)
def test_patterns_are_looked_for_where_they_can_match(operation, kept):
    import torch
    from executorch.backends.xnnpack.partition.graphs import bilinear_2d, sdpa

    functional = torch.nn.functional
    operations = {
        "relu": functional.relu,
        "resize": lambda x: functional.interpolate(x, scale_factor=2, mode="bilinear"),
        "attend": lambda x: functional.scaled_dot_product_attention(x, x, x),
        "softmax": lambda x: functional.softmax(x, dim=-1),
        "normalise": torch.nn.BatchNorm2d(3).eval(),
    }

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.operation = operations[operation]

        def forward(self, x):
            return self.operation(x)

    program = torch.export.export(Net().eval(), (torch.rand(1, 3, 4, 4),))
    patterns = quantiser(program.module()).SUPPORTED_PATTERNS
    assert any("_bn" in pattern.name for pattern in patterns) is kept["batch_norm"]
    assert any(pattern.name == "conv_relu" for pattern in patterns)
    before = bilinear_2d.get_graphs_dict, sdpa.get_graphs
    with only_needed_patterns(program):
        assert (bilinear_2d.get_graphs_dict is before[0]) is kept["bilinear_2d"]
        assert (sdpa.get_graphs is before[1]) is kept["sdpa"]
    assert (bilinear_2d.get_graphs_dict, sdpa.get_graphs) == before


def test_a_model_that_fx_cannot_trace_is_exported_unfolded():
    import torch

    class Branching(torch.nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    module = Branching()
    assert folded(module) is module


def test_a_program_of_operators_that_the_runtime_has_not_is_refused_by_their_names():
    """ExecuTorch writes it, and says 0x:14 when it is loaded."""
    bag = torch.nn.EmbeddingBag(9, 4)
    program = torch.export.export(bag, (torch.zeros(1, 3, dtype=torch.int64),))
    with pytest.raises(Exception, match=r"runtime has no aten::_embedding_bag\.out; express"):
        lower(program, "portable")

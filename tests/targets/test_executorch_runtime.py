"""The runtime of `.pte` and `.ptl`: loads what is whole, refuses the rest, and says what is inside."""

import gc
import subprocess
import sys

import numpy as np
import pytest
from executorch_fixture import outputs_of

from models.digits_cnn import MODEL
from pipelines.errors import GateError, RequestError
from pipelines.targets.executorch import runtime
from pipelines.targets.executorch.program import check_file
from pipelines.targets.in_process import Inspection

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]

PARAMETERS = 25_866
COUNT_THREADS = """
import os, sys
from pathlib import Path
import torch
from pipelines.targets.executorch import runtime
from pipelines.targets.executorch.runtime import _extension
_extension()._unsafe_reset_threadpool(1)
before = len(os.listdir("/proc/self/task"))
model = runtime.open_model(Path(sys.argv[1]), "pte", int(sys.argv[2]), ["logits"])
print(len(os.listdir("/proc/self/task")) - before)
"""


@pytest.fixture(scope="module")
def files(artifacts):
    """Files in float32 by kind."""
    folder, name = artifacts / MODEL.name / "executorch", f"{MODEL.name}_float32"
    return {
        "pte": folder / f"{name}_xnnpack.pte",
        "portable": folder / f"{name}_portable.pte",
        "ptl": folder / f"{name}.ptl",
    }


@pytest.mark.parametrize("kind", ["pte", "portable", "ptl"])
def test_one_sample_at_a_time_agrees_with_predict(files, kind):
    inputs = MODEL.samples().inputs[:5]
    path = files[kind]
    expected = outputs_of(path, inputs)
    model = runtime.open_model(path, path.suffix[1:], 1, ["logits"])
    outputs = []
    for sample in inputs:
        model.set_inputs({"image": sample})
        model.invoke()
        outputs.append(model.outputs()["logits"])
    assert np.ptp(expected, axis=0).max() > 1
    np.testing.assert_allclose(np.stack(outputs), expected, rtol=1e-5, atol=1e-5)
    assert outputs[0].dtype == np.float32
    model.invoke()
    np.testing.assert_array_equal(model.outputs()["logits"], outputs[-1])


@pytest.mark.parametrize("kind", ["pte", "portable", "ptl"])
@pytest.mark.parametrize("keep", [0.0, 0.01, 0.5, 0.99])
def test_a_file_cut_short_is_refused(files, kind, keep, tmp_path):
    content = files[kind].read_bytes()
    path = tmp_path / files[kind].name
    path.write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(GateError) as caught:
        runtime.open_model(path, path.suffix[1:], 1, ["logits"])
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("artifact_format", ["pte", "ptl"])
def test_another_kind_of_file_is_refused_by_name(files, artifact_format, tmp_path):
    path = tmp_path / "model"
    path.write_bytes(b"not a model at all, but long enough to be one")
    for look in (
        lambda: runtime.open_model(path, artifact_format, 1, ["logits"]),
        lambda: runtime.inspect(path, artifact_format),
    ):
        with pytest.raises(GateError, match=str(path)):
            look()
    with pytest.raises(GateError, match="missing"):
        runtime.open_model(tmp_path / "missing", artifact_format, 1, ["logits"])


def test_the_header_says_how_long_the_file_is(files):
    sizes = check_file(files["pte"])
    assert sizes.segments_start + sizes.segments == files["pte"].stat().st_size
    assert 0 < sizes.program <= sizes.segments_start


def test_a_sample_of_another_shape_is_refused(files):
    model = runtime.open_model(files["pte"], "pte", 1, ["logits"])
    with pytest.raises(GateError, match=r"takes samples of shape \(8, 8, 1\), given \(8, 8\)"):
        model.set_inputs({"image": np.zeros((8, 8), np.float32)})


def test_inspection_counts_what_the_files_hold(files):
    assert runtime.inspect(files["ptl"], "ptl") == Inspection(PARAMETERS, 12, 0, None)
    portable = runtime.inspect(files["portable"], "pte")
    assert portable == Inspection(PARAMETERS, 13, 0, None)
    lowered = runtime.inspect(files["pte"], "pte")
    assert lowered == Inspection(PARAMETERS, 11, 11, "XNNPACK")


@pytest.mark.parametrize(("threads", "more"), [(1, 0), (2, 1), (3, 2)])
def test_the_number_of_threads_is_what_was_asked_for(files, threads, more):
    command = [sys.executable, "-c", COUNT_THREADS, str(files["pte"]), str(threads)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert int(done.stdout) == more


def test_threads_do_not_change_under_a_loaded_program(files):
    gc.collect()
    model = runtime.open_model(files["pte"], "pte", 1, ["logits"])
    with pytest.raises(RequestError, match="with 1 threads in this process and a program is loaded"):
        runtime.open_model(files["pte"], "pte", 2, ["logits"])
    del model


@pytest.mark.parametrize(("artifact_format", "package"), [("pte", "executorch"), ("ptl", "torch")])
def test_the_library_is_counted_from_installed_files(artifact_format, package):
    library = runtime.runtime_library(artifact_format)
    assert library.size_bytes > 1_000_000
    assert f"of the package {package} {library.version}, Python build for" in library.source

"""Models that look right and are not, through the command line: the line that says so and the exit code."""

import json
from pathlib import Path

import pytest
from main_job import HURRIED, answered, complaint, tandem
from tiny_models import write

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

BRANCH = """
def forward(linear, x):
    y = linear(x)
    if y.mean() > 0:
        return y
    return -y
"""
LOOP = """
def forward(linear, x):
    import torch
    return torch.stack([linear(row) for row in x])
"""
FIXED_SHAPE = """
def forward(linear, x):
    if x.shape[1] != 4:
        raise ValueError("four features")
    return linear(x)
"""
DULL = """
def calibration():
    return Samples(np.zeros((64, 4), np.float32), np.zeros(64, np.int64))
"""


def line_of(path: Path, text: str) -> int:
    lines = path.read_text().splitlines()
    return next(n for n, line in enumerate(lines, start=1) if text in line)


# What else is refused, and how, is in tests/targets/test_source.py.
@pytest.mark.parametrize(
    "command", [("export", "--targets", "torchserve"), ("mobile", "--targets", "tflite")]
)
def test_a_model_that_is_no_function_of_one_sample_is_refused_by_name(tmp_path, command):
    path = write(tmp_path, "odd", BRANCH)
    done = tandem(command[0], str(path), *command[1:], cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    line = complaint(done.stderr)
    assert "source model odd" in line
    assert f"branches on its data at {path}:{line_of(path, 'if y.mean()')}" in line
    assert not (tmp_path / "artifacts" / "odd" / "torchserve").exists()


def test_a_loop_over_the_batch_does_not_survive_tracing_and_the_tracer_is_quoted(tmp_path):
    path = write(tmp_path, "loop", LOOP)
    done = tandem("export", str(path), "--targets", "torchserve", cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    line = complaint(done.stderr)
    assert "torchserve could not be exported: " in line
    assert "does not survive tracing" in line
    assert f"loop.py:{line_of(path, 'for row in x')}: TracerWarning: " in line


def test_a_warning_of_a_tracer_is_shown_and_kept(tmp_path):
    path = write(tmp_path, "fixed", FIXED_SHAPE)
    for _ in range(2):  # nothing is exported the second time, and the warning stands all the same
        done = tandem("export", str(path), "--targets", "torchserve", "--json", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        (warning,) = json.loads(done.stdout)["warnings"]
        assert f"torchserve: fixed.py:{line_of(path, 'x.shape[1]')}: TracerWarning: " in warning


def mobile_of(tmp_path, path, exit_code):
    done = tandem("mobile", str(path), "--targets", "tflite", cwd=tmp_path, program=HURRIED)
    assert done.returncode == exit_code, done.stderr
    mobile = json.loads((tmp_path / "runs/latest/run.json").read_text())["mobile"]
    return done, mobile, {one["precision"]: one for one in mobile["artifacts"]}


@pytest.fixture(scope="module")
def triple(tmp_path_factory):
    """A model whose twin answers three times as much, for both tests of it: neither exports again."""
    return write(tmp_path_factory.mktemp("triple"), "triple", scale=3.0)


def test_what_verify_rejects_never_ships(triple):
    done, mobile, of = mobile_of(triple.parent, triple, 1)
    line = complaint(done.stderr)
    assert "tflite/triple_float32.tflite: sample " in line
    assert "tflite/triple_int8.tflite: output error " in line
    assert mobile["gate"]["chosen"] is None
    assert of["float32"]["accuracy_drop"] == 0
    assert not any(one["passed"] for one in of.values())


def test_verify_rejects_the_same_twin(triple):
    targets = ("--targets", "torchserve,tfserving,tflite")
    assert tandem("export", str(triple), *targets, cwd=triple.parent).returncode == 0
    done = tandem("verify", str(triple), *targets, "--json", cwd=triple.parent)
    assert done.returncode == 1, done.stderr
    judged = {one["subject"]: one["passed"] for one in json.loads(done.stdout)["parity"]}
    assert judged["torchserve/triple.pt"]
    assert judged["torchserve/triple.mar"]
    assert not judged["tfserving/triple/1"]
    assert not judged["tflite/triple_float16.tflite"]


def test_one_sigmoid_column_has_the_accuracy_of_its_threshold_and_fails_at_chance(tmp_path):
    path = write(tmp_path, "binary", DULL, columns=1, sigmoid=True, labels="('no', 'yes')")
    done, mobile, of = mobile_of(tmp_path, path, 1)
    line = complaint(done.stderr)
    assert "tflite/binary_int8.tflite: accuracy 0." in line
    assert "at most 0.01 is allowed" in line
    assert "binary_float32" not in line
    assert mobile["source_accuracy"] == of["float32"]["accuracy"] == 1
    assert of["float32"]["passed"]
    assert of["int8"]["accuracy"] < 0.9
    assert of["int8"]["accuracy_drop"] > 0.1
    assert not of["int8"]["passed"]


def test_boxes_have_errors_and_no_accuracy(tmp_path):
    path = write(tmp_path, "boxes", columns=4, truth="np.zeros(200, np.int64)")
    done, mobile, of = mobile_of(tmp_path, path, 0)
    assert mobile["task"] == "none"
    assert mobile["source_accuracy"] is None
    for one in of.values():
        assert one["accuracy"] is one["accuracy_drop"] is one["top1_agreement"] is None
        assert 0 <= one["output_error"] < 0.1
    assert "accuracy 0" not in done.stdout


def test_boxes_of_a_broken_calibration_fail_by_their_error(tmp_path):
    path = write(tmp_path, "boxes", DULL, columns=4, truth="SCORES + np.float32(0.5)")
    done, mobile, of = mobile_of(tmp_path, path, 1)
    assert "boxes_int8.tflite: output error " in complaint(done.stderr)
    assert mobile["task"] == "regression"
    assert mobile["source_target_rmse"] == pytest.approx(0.5, rel=1e-3)
    assert of["float32"]["target_rmse"] == pytest.approx(0.5, rel=1e-3)
    assert of["float32"]["passed"]
    assert of["int8"]["target_rmse"] > 1


@pytest.mark.parametrize(
    ("command", "labels", "said"),
    [
        ("verify", "'abc'", "labels of odd are 'abc'; a tuple of names is allowed"),
        ("mobile", "('a', 'b')", "2 labels for an output of 3 columns; allowed: 0 or 3"),
        ("export", "('a', 'b\\nc', 'd')", r"label 1 of odd is 'b\nc': line breaks"),
    ],
)
def test_labels_that_do_not_fit_are_refused_before_any_work(tmp_path, command, labels, said):
    path = write(tmp_path, "odd", labels=labels)
    done = answered(command, str(path), cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert said in complaint(done.stderr)
    assert not (tmp_path / "artifacts").exists()

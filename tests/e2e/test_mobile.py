"""`tandem mobile` as a person runs it: every artifact, the gate, a broken calibration, an interruption."""

import json
import shutil
import signal
from pathlib import Path

import numpy as np
import psutil
import pytest
from main_job import HASTY, HURRIED, TIMED_S, answered, complaint, folders_left, running, tandem

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

REDUCED_SHARE = 0.30


@pytest.fixture(scope="module")
def folder(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Exported artifacts, and one finished `tandem mobile` below runs/."""
    copy = tmp_path_factory.mktemp("mobile")
    shutil.copytree(exported / "artifacts", copy / "artifacts")
    done = tandem("mobile", "digits_cnn", cwd=copy, program=HURRIED)
    assert done.returncode == 0, done.stderr
    assert "host CPU, not a phone" in done.stdout
    assert "[1/" in done.stderr
    return copy


@pytest.fixture(scope="module")
def run(folder: Path) -> dict:
    return json.loads((folder / "runs" / "latest" / "run.json").read_text())


def of(run: dict, precision: str, target: str = "tflite") -> dict:
    (found,) = (a for a in run["mobile"]["artifacts"] if (a["target"], a["precision"]) == (target, precision))
    return found


def test_the_run_is_of_its_own_kind(run, folder):
    assert run["kind"] == "mobile"
    assert run["status"] == "complete"
    assert run["profile"] is run["payload"] is None
    assert run["targets"] == {}
    for page in ("report.html", "report.md"):
        assert "host CPU, not a phone" in (folder / "runs/latest" / page).read_text()


def test_every_artifact_was_measured(run):
    for one in run["mobile"]["artifacts"]:
        assert one["error"] is None, one
        assert one["samples_count"] == 450
        assert one["accuracy_drop"] <= 0.01
        assert one["runtime_library"] in run["mobile"]["runtimes"]
        assert one["timings"][0]["threads_count"] == 1
        for timing in one["timings"]:
            assert timing["runs_count"] >= 50
            assert timing["elapsed_s"] >= TIMED_S
            assert timing["p50_ms"] > 0
            assert timing["load_ms"] > 0
            assert timing["peak_memory_bytes"] > 0


def test_int8_is_small_and_still_knows_the_digits(run):
    assert of(run, "int8")["size_bytes"] <= REDUCED_SHARE * of(run, "float32")["size_bytes"]
    assert abs(of(run, "int8")["accuracy_drop"]) <= 0.01


def test_the_chosen_one_is_the_smallest_that_passes(run):
    passing = [a for a in run["mobile"]["artifacts"] if a["passed"]]
    assert min(passing, key=lambda a: a["size_bytes"])["path"] == run["mobile"]["gate"]["chosen"]


def test_percentiles_follow_from_the_raw_calls(run, folder):
    for one in run["mobile"]["artifacts"]:
        for timing in one["timings"]:
            with np.load(folder / "runs/latest" / timing["samples_file"]) as raw:
                calls_ms = raw["invoke_ns"] / 1e6
            assert len(calls_ms) == timing["runs_count"]
            assert timing["p50_ms"] == pytest.approx(np.percentile(calls_ms, 50))
            if timing["p95_ms"] is not None:
                assert timing["p95_ms"] == pytest.approx(np.percentile(calls_ms, 95))


def test_the_report_is_rebuilt_identically(folder):
    names = ("run.json", "report.md", "report.html")
    before = {name: (folder / "runs/latest" / name).read_bytes() for name in names}
    done = tandem("report", "runs/latest", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert {name: (folder / "runs/latest" / name).read_bytes() for name in names} == before


def test_a_smoke_comparison_includes_what_was_measured_before(folder, run):
    short = ("--profile", "smoke", "--rounds", "1", "--round-s", "1", "--loads", "closed:4")
    done = tandem("compare", "digits_cnn", "--sides", "tfserving", *short, cwd=folder, program=HASTY)
    assert done.returncode == 0, done.stderr
    compared = json.loads((folder / "runs/latest/run.json").read_text())
    assert compared["kind"] == "compare"
    assert compared["mobile"]["measured_at_utc"] == run["mobile"]["measured_at_utc"]
    assert tandem("report", "runs/latest", cwd=folder).returncode == 0


def test_a_limit_that_nothing_keeps_is_a_no(folder):
    asked = ("--max-bytes", "1kB", "--targets", "onnx")
    done = tandem("mobile", "digits_cnn", *asked, cwd=folder, program=HURRIED)
    assert done.returncode == 1
    assert "passes: " in complaint(done.stderr)
    assert "at most 1.00 kB is allowed" in done.stderr


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--max-bytes", "4TB", "--max-bytes is '4TB'"),
        ("--max-accuracy-drop", "7", "--max-accuracy-drop is 7"),
    ],
)
def test_a_wrong_limit_is_said_before_any_work(tmp_path, option, value, said):
    done = answered("mobile", "digits_cnn", option, value, cwd=tmp_path)
    assert done.returncode == 2
    assert said in complaint(done.stderr)
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_keeps_what_was_measured_and_leaves_nothing_behind(folder, temporary):
    with running("mobile", "digits_cnn", cwd=folder, program=HURRIED) as process:
        for line in process.stderr:
            if "[2/" in line:
                break
        workers = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    record = json.loads((folder / "runs/latest/run.json").read_text())
    assert record["status"] == "interrupted"
    assert record["mobile"]["artifacts"][0]["timings"]
    assert record["mobile"]["artifacts"][-1]["error"] == "not measured: it was interrupted"
    assert not [worker for worker in workers if worker.is_running()]
    assert folders_left(temporary) == []

"""A target that is in nobody's list: its folder and its name are all that Tandem is given."""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import psutil
import pytest
import tiny_models
from main_job import HASTY, TANDEM, complaint

from pipelines.http import fetch

pytestmark = pytest.mark.slow

SOURCE = Path(__file__).with_name("toy_target")


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with a model, the toy's package, and nothing of the repository's."""
    folder = tmp_path_factory.mktemp("toy")
    shutil.copytree(SOURCE, folder / "packages" / "toy_target", ignore=shutil.ignore_patterns("__pycache__"))
    tiny_models.write(folder, "tiny")
    return folder


def environment(place: Path, module: str = "toy_target") -> dict[str, str]:
    return os.environ | {"TANDEM_TARGETS": module, "PYTHONPATH": str(place / "packages")}


def tandem(
    place: Path, *arguments: str, module: str = "toy_target", program: Sequence[str] = TANDEM
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*program, *arguments],
        cwd=place,
        env=environment(place, module),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


@pytest.fixture(scope="module")
def exported(place: Path) -> Path:
    done = tandem(place, "export", "tiny.py", "--targets", "toy", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["exported"] == ["toy"]
    return place


@pytest.fixture(scope="module")
def run(exported: Path) -> dict:
    done = tandem(
        exported,
        *("compare", "tiny.py", "--sides", "toy,toy", "--profile", "smoke", "--runner", "local"),
        *("--rounds", "1", "--round-s", "1", "--loads", "closed:4"),
        program=HASTY,
    )
    assert done.returncode == 0, done.stderr
    return json.loads((exported / "runs" / "latest" / "run.json").read_text())


def test_its_export_is_on_record_and_done_once(exported):
    manifest = json.loads((exported / "artifacts" / "tiny" / "toy" / "manifest.json").read_text())
    (artifact,) = manifest["artifacts"]
    assert (artifact["format"], artifact["toolchain"]) == ("numpy", {"numpy": np.__version__})
    again = tandem(exported, "export", "tiny.py", "--targets", "toy", "--json")
    assert json.loads(again.stdout)["exported"] == []


def test_a_change_of_its_exporter_exports_anew(exported):
    exporter = exported / "packages" / "toy_target" / "export.py"
    exporter.write_text(exporter.read_text() + "# changed\n")
    again = tandem(exported, "export", "tiny.py", "--targets", "toy", "--json")
    assert json.loads(again.stdout)["exported"] == ["toy"]


def test_its_artifact_is_verified(exported):
    done = tandem(exported, "verify", "tiny.py", "--targets", "toy", "--json")
    assert done.returncode == 0, done.stderr
    (parity,) = json.loads(done.stdout)["parity"]
    assert (parity["subject"], parity["passed"], parity["samples_count"]) == ("toy/matrix.npy", True, 200)


MORTAL = """
import dataclasses, os, signal, toy_target

TARGET = dataclasses.replace(toy_target.TARGET, name="mortal", runtime="mortal:predict")


def predict(artifact, artifact_format, inputs, outputs):
    os.kill(os.getpid(), signal.SIGSEGV)
"""


def test_a_file_that_ends_its_process_is_one_line_and_the_others_are_verified(exported):
    (exported / "packages" / "mortal.py").write_text(MORTAL)
    modules = "toy_target,mortal"
    done = tandem(exported, "export", "tiny.py", "--targets", "toy,mortal", module=modules)
    assert done.returncode == 0, done.stderr
    done = tandem(exported, "verify", "tiny.py", "--targets", "toy,mortal", "--json", module=modules)
    assert done.returncode == 1
    verified = json.loads(done.stdout)
    assert [(one["subject"], one["passed"]) for one in verified["parity"]] == [("toy/matrix.npy", True)]
    (failure,) = verified["failures"]
    assert "mortal/matrix.npy" in failure
    assert "SIGSEGV" in failure
    assert complaint(done.stderr).endswith(failure)


def test_it_is_served_until_somebody_ends_it(exported):
    command = [*TANDEM, "serve", "toy", "--model", "tiny.py", "--runner", "local", "--json"]
    with subprocess.Popen(
        command,
        cwd=exported,
        env=environment(exported),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            facts = json.loads(process.stdout.readline() if process.stdout else "{}")
            body = json.dumps({"instances": [[1.0, 0.0, 0.0, 0.0]]}).encode()
            status, answer = fetch(facts["predict_url"], body)
            assert status == 200
            column = np.load(exported / "artifacts" / "tiny" / "toy" / "matrix.npy")[:, 0]
            assert np.allclose(json.loads(answer)["predictions"], [column])
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)
    assert not psutil.pid_exists(facts["pid"])


def test_it_is_compared(run):
    assert run["status"] == "complete"
    for name in ("toy", "toy-2"):
        side = run["targets"][name]
        assert side["implementation"]["name"] == "toy server"
        assert side["endpoint_parity"]["passed"]
        assert side["endpoint_parity"]["samples_count"] == 200
        assert side["rounds"]
        assert all(one["requests_count"] > 0 and one["errors_count"] == 0 for one in side["rounds"])
    assert run["environment"]["versions"]["numpy"] == np.__version__


def test_its_report_can_be_made_again_and_calls_it_by_its_title(run, exported):
    page = exported / "runs" / "latest" / "report.md"
    page.unlink()
    done = tandem(exported, "report", "runs/latest")
    assert done.returncode == 0, done.stderr
    assert "Toy Server" in page.read_text()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "holds no target"),
        ("", "holds no target"),
        ("TARGET = 3", "is a int"),
        (
            "import dataclasses, toy_target\nTARGET = dataclasses.replace(toy_target.TARGET, name='onnx')",
            "'onnx' is there already",
        ),
    ],
)
def test_a_module_without_a_target_of_its_own_is_a_wrong_request(exported, text, said):
    name = f"wrong_{time.monotonic_ns()}"
    if text is not None:
        (exported / "packages" / f"{name}.py").write_text(text)
    done = tandem(exported, "export", "tiny.py", "--targets", "toy", module=name)
    assert done.returncode == 2, done.stderr
    assert said in complaint(done.stderr)
    assert name in complaint(done.stderr)

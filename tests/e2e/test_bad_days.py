"""What can go wrong: one clear line, the right exit code, no orphan, nothing half-written, nothing lost."""

import json
import shutil
import signal
import socket
import time
from pathlib import Path

import psutil
import pytest
from main_job import (
    HASTY,
    TOY_SERVER,
    answered,
    complaint,
    folders_left,
    processes_of,
    running,
    tandem,
)

from pipelines.artifacts.contents import file_digests, sha256, size_bytes
from pipelines.artifacts.manifest import read_manifest, write_manifest

pytestmark = pytest.mark.slow


@pytest.fixture
def copy(exported: Path, tmp_path: Path) -> Path:
    """A copy of the verified artifacts that a test may break."""
    shutil.copytree(exported / "artifacts", tmp_path / "artifacts")
    return tmp_path


def adopt(folder: Path, name: str) -> None:
    """Make the manifest agree with a changed artifact, so that only its behaviour can give it away."""
    manifest = read_manifest(folder)
    artifacts = [
        a.model_copy(update={"sha256": sha256(folder / a.path), "size_bytes": size_bytes(folder / a.path)})
        if a.path == name
        else a
        for a in manifest.artifacts
    ]
    changes = {"artifacts": tuple(artifacts), "files": file_digests(folder, [a.path for a in artifacts])}
    write_manifest(folder, manifest.model_copy(update=changes))


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("compare", "digits_cn"), 2, "did you mean digits_cnn"),
        (("compare", "--profile", "quik"), 2, "did you mean quick"),
        (("compare", "--sides", "torchserve,tfservin"), 2, "did you mean tfserving"),
        (("compare", "--preset", "tune"), 2, "did you mean tuned"),
        (("serve", "tflite"), 2, "allowed: torchserve, tfserving"),
        (("serve", "torchserve", "--port", "70000"), 2, "0<=x<=65535"),
        (("report", "nowhere"), 2, "holds no run.json"),
        (("verify", "--artifacts", "empty"), 2, "tandem export"),
        (("export", "missing.py"), 2, "does not exist"),
    ],
)
def test_a_wrong_request_is_one_line_and_exit_code_2(exported, arguments, code, words):
    done = answered(*arguments, cwd=exported)
    assert done.returncode == code, done.stderr
    assert words in complaint(done.stderr)
    assert processes_of(exported) == []


@pytest.mark.parametrize(
    "name", ["torchserve/digits_cnn.mar", "torchserve/digits_cnn.pt", "tfserving/digits_cnn/1/saved_model.pb"]
)
def test_a_truncated_artifact_is_named(copy, name):
    path = copy / "artifacts/digits_cnn" / name
    path.write_bytes(path.read_bytes()[:-1000])
    done = answered("verify", cwd=copy)
    assert done.returncode == 1, done.stderr
    line = complaint(done.stderr)
    assert str(Path(name).parent) in line
    assert "bytes" in line
    assert "tandem export digits_cnn --force" in line


def test_export_mends_a_damaged_artifact_and_says_why(copy):
    path = copy / "artifacts/digits_cnn/tflite/digits_cnn_float32.tflite"
    path.write_bytes(b"short")
    facts = json.loads(tandem("export", "--json", cwd=copy).stdout)
    assert facts["exported"] == ["tflite"]
    assert "5 bytes" in facts["reasons"]["tflite"]
    assert 0 < facts["pipeline_s"]["tensorflow"] <= facts["elapsed_s"]
    assert path.stat().st_size > 10_000


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_another_models_weights_fail_the_gate(copy):
    """The archive's manifest agrees with the file, but the file computes something else."""
    import torch

    folder = copy / "artifacts/digits_cnn/torchserve"
    module = torch.jit.load(folder / "digits_cnn.pt")
    clipped = torch.nn.Sequential(module, torch.nn.Hardtanh(-3.0, 3.0)).eval()
    torch.jit.save(torch.jit.trace(clipped, torch.zeros(2, 8, 8, 1)), folder / "digits_cnn.pt")
    adopt(folder, "digits_cnn.pt")
    done = tandem("verify", "--targets", "torchserve", cwd=copy)
    assert done.returncode == 1, done.stderr
    line = complaint(done.stderr)
    assert all(word in line for word in ("torchserve/digits_cnn.pt", "sample", "expected", "got"))
    assert not (copy / "artifacts/digits_cnn/verified.json").exists()


def test_a_taken_port_is_named_with_its_holder(copy):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = tandem("serve", "torchserve", "--port", port, cwd=copy)
    assert done.returncode == 3, done.stderr
    assert f"port {port} is taken" in complaint(done.stderr)


def test_a_server_that_dies_at_start_shows_its_last_words(copy, monkeypatch, tmp_path):
    home = tmp_path / "java"
    (home / "bin").mkdir(parents=True)
    java = home / "bin" / "java"
    java.write_text(
        '#!/bin/sh\n[ "$1" = -version ] && { echo \'openjdk version "99"\' >&2; exit 0; }\n'
        "echo out of coffee >&2; exit 7\n"
    )
    java.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(home))
    done = tandem("serve", "torchserve", cwd=copy)
    assert done.returncode == 3
    line = complaint(done.stderr)
    assert "exit code 7" in line
    assert "out of coffee" in line


def test_a_killed_tandem_leaves_no_server_behind(copy):
    with running("serve", "torchserve", "--json", cwd=copy) as process:
        facts = json.loads(process.stdout.readline())
        tree = [psutil.Process(facts["pid"]), *psutil.Process(facts["pid"]).children(recursive=True)]
        assert len(tree) > 1
        process.kill()
    _, alive = psutil.wait_procs(tree, timeout=30)
    assert alive == []


# Neither a JVM nor a framework has to start to be interrupted in the middle.
QUICK = ("compare", "tiny.py", "--profile", "smoke", "--sides", "toy,toy", "--round-s", "1")


def test_a_killed_comparison_leaves_no_frozen_server_and_a_run_that_can_be_read(toys, temporary):
    with running(*QUICK, cwd=toys, program=HASTY) as process:
        wait_for_rounds(process, 1)
        tree = psutil.Process(process.pid).children(recursive=True)
        assert any(child.status() == psutil.STATUS_STOPPED for child in tree)
        process.kill()
    _, alive = psutil.wait_procs(tree, timeout=30)
    assert alive == []
    assert folders_left(temporary) == []
    (run,) = sorted((toys / "runs").glob("2*"))[-1:]
    assert tandem("report", str(run), "--json", cwd=toys).returncode == 0
    assert json.loads((run / "run.json").read_text())["status"] == "interrupted"


@pytest.mark.parametrize("stage", ["export", "verify"])
def test_ctrl_c_in_a_stage_leaves_nothing_half_done(copy, stage):
    arguments = ("export", "--force") if stage == "export" else ("verify",)
    before = sorted(p.name for p in (copy / "artifacts/digits_cnn").iterdir())
    with running(*arguments, cwd=copy) as process:
        process.stderr.readline()  # it has begun
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
        assert process.returncode == 130
    assert "interrupted" in stderr
    assert "Traceback" not in stderr
    after = sorted(p.name for p in (copy / "artifacts/digits_cnn").iterdir())
    assert set(after) <= set(before)
    assert json.loads(tandem("export", "--json", cwd=copy).stdout)["exported"] == []


def wait_for_rounds(process, count: int) -> None:
    """Read the progress until `count` rounds have been measured and another has begun."""
    for line in process.stderr:
        if f"[{count}/" in line and "under" in line:
            return
    raise AssertionError("the comparison ended before it was meant to be interrupted")


def test_ctrl_c_in_a_comparison_keeps_what_was_measured(toys):
    with running(*QUICK, cwd=toys, program=HASTY) as process:
        wait_for_rounds(process, 2)
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
        assert process.returncode == 130, stderr
    run = json.loads((toys / "runs/latest/run.json").read_text())
    assert run["status"] == "interrupted"
    rounds = [r for t in run["targets"].values() for r in t["rounds"]]
    assert len(rounds) >= 2
    assert rounds[0]["latency_ms"]["p50"] > 0
    assert "interrupted" in (toys / "runs/latest/report.html").read_text()
    assert processes_of(toys) == []


def test_a_server_that_dies_in_a_round_is_named_and_its_rounds_are_kept(toys):
    with running(*QUICK, "--round-s", "3", cwd=toys, program=HASTY) as process:
        wait_for_rounds(process, 2)
        time.sleep(2)
        children = psutil.Process(process.pid).children(recursive=True)
        next(one for one in children if TOY_SERVER in " ".join(one.cmdline())).kill()
        _, stderr = process.communicate(timeout=120)
        assert process.returncode == 3, stderr
    line = complaint(stderr)
    assert "toy" in line
    assert "kept in" in line
    run = json.loads((toys / "runs/latest/run.json").read_text())
    assert run["status"] == "failed"
    assert sum(len(t["rounds"]) for t in run["targets"].values()) >= 2
    assert processes_of(toys) == []

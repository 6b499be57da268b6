"""The locustfile runs alone: from the repository and from elsewhere, with a pool and with a model."""

import os
import subprocess
import sys

import numpy as np
import pytest
from load_harness import ROOT, known_delay_server, make_plan

from loadtests.recorder import read_samples

pytestmark = pytest.mark.slow

LOCUSTFILE = ROOT / "loadtests" / "locustfile.py"


def locust(folder, *options):
    command = [sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--headless", "--only-summary"]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [*command, *options],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


def test_with_a_pool_answers_are_checked_and_every_request_is_recorded(tmp_path):
    with known_delay_server(
        tmp_path, "--delay", "constant:5", "--wrong-share", "0.2", "--seed", "2"
    ) as server:
        plan = make_plan(tmp_path, server.url)
        options = [
            "--payloads",
            str(plan.pool_file),
            "--record",
            str(plan.samples_file),
            "--check-share",
            "1",
        ]
        answer = locust(tmp_path, "--host", server.url, "-u", "3", "-r", "3", "-t", "4s", *options)
        says = server.stop()
    samples = read_samples(plan.samples_file)
    # Beside other tests a busy machine sends a tenth of what a quiet one does.
    assert len(samples) == len(says.kinds) > 20
    assert np.count_nonzero(samples.correct == 0) == says.kinds.count("wrong") > 0
    assert f"{len(samples)} requests" in answer.stderr
    assert "wrong answer" in answer.stdout + answer.stderr
    assert "awaited for 15.0 s" in answer.stderr
    assert samples.done_ns.max() - samples.sent_ns.min() > 1.8e9


@pytest.mark.parametrize(
    ("target", "path"),
    [("tfserving", "/v1/models/digits_cnn:predict"), ("torchserve", "/predictions/digits_cnn")],
)
def test_with_a_model_requests_are_made_from_its_samples(target, path):
    with subprocess.Popen(
        [sys.executable, "-m", "loadtests.servers.null", "--port", "0"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        port = server.stdout.readline().split('"port": ')[1].rstrip("}\n")
        options = ["--host", f"http://127.0.0.1:{port}", "-u", "1", "-t", "1s", "--target", target]
        answer = locust(ROOT, *options)
        server.kill()
    assert answer.returncode == 0
    assert path in answer.stdout + answer.stderr
    assert "not checked" in answer.stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--payloads", "/nowhere/pool.json"], "cannot read /nowhere/pool.json"),
        (["--model", "digits_cnm"], "did you mean digits_cnn"),
    ],
)
def test_a_wrong_option_is_one_line(tmp_path, options, words):
    answer = locust(tmp_path, "--host", "http://127.0.0.1:9", "-t", "1s", *options)
    assert answer.returncode == 2
    assert words in answer.stderr
    assert "Traceback" not in answer.stderr

"""Servers that somebody else runs, given by their address: the same figures, and no trace of a secret."""

import json
import subprocess
import threading
import time
import zipfile
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest
from main_job import complaint, tandem

from pipelines.http import fetch
from pipelines.processes.children import python_module
from pipelines.processes.group import free_ports, wait_until

pytestmark = pytest.mark.slow

SECRET = "n0b0dy-m4y-s33-7his-1234567890"  # noqa: S105 - what must not be seen
MACHINE = {"quiet", "warm", "generator", "lateness"}
"""Checks of a round that a busy machine fails, whoever serves."""

SHORT = ("--profile", "smoke", "--rounds", "1", "--loads", "closed:2", "--round-s", "1")


@contextmanager
def server(exported: Path, work: Path, *faults: str):
    """An embedded server that somebody starts by hand, behind a proxy with faults; yields its three ports."""
    rest, grpc, front = free_ports(3)
    base = exported / "artifacts" / "digits_cnn" / "tfserving" / "digits_cnn"
    command = [
        *python_module("pipelines.targets.tfserving.embedded"),
        *("--host=127.0.0.1", f"--port={grpc}", f"--rest_api_port={rest}"),
        *("--model_name=m", f"--model_base_path={base}"),
    ]
    proxy = [*python_module("loadtests.servers.faulty"), "--port", str(front), "--upstream", str(rest)]
    with (work / "server.log").open("wb") as log:
        process = subprocess.Popen([*proxy, *faults, "--", *command], stdout=log, stderr=log)
    try:
        assert wait_until(lambda: answers(rest), limit_s=60)
        yield rest, grpc, front
    finally:
        process.terminate()
        process.wait(30)


def answers(port: int) -> bool:
    with suppress(OSError):
        return fetch(f"http://127.0.0.1:{port}/v1/models/m")[0] == 200
    return False


@contextmanager
def watched(secret: str):
    """What arguments and environments of all processes hold the secret while this runs."""
    seen: list[str] = []
    ended = threading.Event()

    def look():
        while not ended.is_set():
            for process in psutil.process_iter():
                with suppress(psutil.Error, OSError):
                    told = [*process.cmdline(), *process.environ().values()]
                    seen.extend(process.name() for one in told if secret in one)
            time.sleep(0.3)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        ended.set()
        thread.join()


def holding(folder: Path, secret: str) -> list[str]:
    """Files below a folder that hold the secret, packed or not."""
    found = []
    for path in folder.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            if zipfile.is_zipfile(path):
                with zipfile.ZipFile(path) as packed:
                    content += b"".join(map(packed.read, packed.namelist()))
            if secret.encode() in content:
                found.append(str(path))
    return found


@pytest.fixture(scope="module")
def done(exported: Path, tmp_path_factory):
    """One comparison of one server over REST behind a proxy that wants a token, and over gRPC."""
    work = tmp_path_factory.mktemp("endpoints")
    (work / "token").write_text(f"{SECRET}\n")
    (work / "header").write_text(f"Authorization: Bearer {SECRET}")
    with server(exported, work, "--require-header-file", str(work / "header")) as (_, grpc, front):
        today = f"today=tfserving+http://127.0.0.1:{front}/v1/models/m"
        new = f"new=tfserving+grpc://127.0.0.1:{grpc}/m"
        header = f"today=Authorization: Bearer file:{work / 'token'}"
        with watched(SECRET) as seen:
            finished = tandem(
                *("compare", "digits_cnn", "--sides", f"{today},{new}", "--header", header),
                *(*SHORT, "--max-rate", "5000", "--runs", str(work / "runs")),
                cwd=exported,
            )
        refused = tandem(
            *("compare", "digits_cnn", "--sides", f"{today},{new}", *SHORT, "--runs", str(work / "runs")),
            cwd=exported,
        )
    return finished, refused, seen, work


def test_a_server_given_by_its_address_is_proven_and_measured(done):
    finished, _, _, work = done
    assert finished.returncode == 0, finished.stderr
    run = json.loads((work / "runs" / "latest" / "run.json").read_text())
    compared = [name for name, one in run["targets"].items() if one["role"] == "compared"]
    assert compared == ["today", "new"]
    for name, body in (("today", "json-rows"), ("new", "tensor-proto")):
        one = run["targets"][name]
        assert (one["target"], one["implementation"]["runner"]) == ("url", "url")
        assert one["implementation"]["body"] == body
        assert one["endpoint_parity"]["passed"]
        assert one["endpoint_parity"]["samples_count"] == 450
        assert (one["cold_starts"], one["memory"]["peak_bytes"], one["given"]["cores"]) == ([], None, [])
        assert one["log_file"] is None
        assert {"cores", "memory", "cold_start", "until_steady"} <= one["not_known"].keys()
        assert one["not_known"]["cores"]["code"] == "not_started_here"
        for measured in one["rounds"]:
            assert measured["requests_count"] > 0
            assert (measured["errors_count"], measured["wrong_count"]) == (0, 0)
            assert set(measured["failed_checks"]) <= MACHINE
    assert set(run["fairness"]["checked"]["cores"].values()) == {"not known"}
    assert all(one["on_purpose"] for one in run["fairness"]["asymmetries"])


def test_the_time_of_the_process_that_listens_is_the_servers(done):
    *_, work = done
    run = json.loads((work / "runs" / "latest" / "run.json").read_text())
    served = run["targets"]["new"]["rounds"]
    assert all(one["server_cpu_s"] > 0 for one in served)
    assert "cpu" not in run["targets"]["new"]["not_known"]
    assert all(one["foreign_cores"] is not None for one in served)


def test_the_report_says_first_what_is_not_known(done):
    *_, work = done
    page = (work / "runs" / "latest" / "report.md").read_text()
    top = page.partition("## The answer")[0]
    assert "today is somebody else" in top
    assert "Not known: cores, memory, configuration, cold start, time until steady" in top


def test_a_token_is_in_no_file_no_output_and_no_process_list(done):
    finished, refused, seen, work = done
    assert holding(work / "runs", SECRET) == []
    for one in (finished, refused):
        assert SECRET not in one.stdout + one.stderr
    assert seen == []
    assert "file:" in " ".join(json.loads((work / "runs" / "latest" / "run.json").read_text())["command"])


def test_who_is_refused_is_told_what_to_give(done):
    _, refused, _, _ = done
    assert refused.returncode == 2
    assert "answers 401" in complaint(refused.stderr)
    assert "--header" in complaint(refused.stderr)


def test_an_endpoint_that_answers_wrong_later_loses_its_rounds_and_nothing_else(exported, tmp_path):
    faults = ("--wrong-after", "500", "--wrong-every", "2")
    with server(exported, tmp_path, *faults) as (_, _, front):
        finished = tandem(
            *("compare", "digits_cnn", "--sides", f"a=tfserving+http://127.0.0.1:{front}/m", *SHORT),
            *("--runs", str(tmp_path / "runs")),
            cwd=exported,
        )
    assert finished.returncode == 0, finished.stderr
    run = json.loads((tmp_path / "runs" / "latest" / "run.json").read_text())
    (measured,) = run["targets"]["a"]["rounds"]
    assert not measured["valid"]
    assert "wrong_answers" in {one["code"] for one in measured["invalid_reasons"]}
    assert measured["wrong_count"] > 0
    assert (tmp_path / "runs" / "latest" / measured["samples_file"]).is_file()

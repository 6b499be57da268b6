"""Servers that somebody else runs, given by their address: the same figures, and no trace of a secret."""

import json
import os
import subprocess
from contextlib import suppress

import endpoint_runs
import pytest
from endpoint_runs import HASTY, MACHINE, SAMPLES_COUNT, SHORT, codes, faulty, latest, only_round, place
from main_job import complaint, running, tandem
from secrecy import holding, watched
from stub_endpoint import as_sides

from pipelines.http import fetch
from pipelines.processes.children import python_module
from pipelines.processes.group import free_ports, wait_until

pytestmark = pytest.mark.slow

SECRET = "n0b0dy-m4y-s33-7his-1234567890"  # noqa: S105 - what must not be seen


@pytest.fixture(scope="module")
def ports(exported, tmp_path_factory):
    """An embedded server that somebody starts by hand: its ports for REST and gRPC."""
    rest, grpc = free_ports(2)
    base = exported / "artifacts" / "digits_cnn" / "tfserving" / "digits_cnn"
    command = [
        *python_module("pipelines.targets.tfserving.embedded"),
        *("--host=127.0.0.1", f"--port={grpc}", f"--rest_api_port={rest}"),
        *("--model_name=m", f"--model_base_path={base}"),
    ]
    log = tmp_path_factory.mktemp("server") / "server.log"
    with log.open("wb") as file, subprocess.Popen(command, stdout=file, stderr=file) as process:
        try:
            assert wait_until(lambda: answers(rest), limit_s=60)
            yield rest, grpc
        finally:
            process.terminate()
            process.wait(30)


def answers(port: int) -> bool:
    with suppress(OSError):
        return fetch(f"http://127.0.0.1:{port}/v1/models/m")[0] == 200
    return False


def compare(exported, runs, sides: str, *options: str) -> "subprocess.CompletedProcess[str]":
    """A short comparison of these sides, with two users."""
    given = ("--sides", sides, *SHORT, "--loads", "closed:2", "--runs", str(runs), *options)
    return tandem("compare", "digits_cnn", *given, cwd=exported, program=HASTY)


@pytest.fixture(scope="module")
def done(exported, ports, tmp_path_factory):
    """One comparison of one server over REST behind a proxy that wants a token, and over gRPC."""
    work = tmp_path_factory.mktemp("endpoints")
    (work / "token").write_text(f"{SECRET}\n")
    (work / "header").write_text(f"Authorization: Bearer {SECRET}")
    rest, grpc = ports
    with faulty(rest, "--require-header-file", str(work / "header")) as front:
        today = f"today=tfserving+http://127.0.0.1:{front}/v1/models/m"
        sides = f"{today},new=tfserving+grpc://127.0.0.1:{grpc}/m"
        header = f"today=Authorization: Bearer file:{work / 'token'}"
        with watched(SECRET) as watch:
            finished = compare(exported, work / "runs", sides, "--header", header, "--max-rate", "5000")
        refused = compare(exported, work / "runs", sides)
    return finished, refused, watch, work


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


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one core is shared by all")
def test_servers_that_may_use_the_generators_core_are_named(done):
    *_, work = done
    run = json.loads((work / "runs" / "latest" / "run.json").read_text())
    found = [one["figures"]["side"] for one in run["warnings"] if one["code"] == "endpoint_shares_core"]
    assert found == ["today", "new"]


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
    finished, refused, watch, work = done
    assert holding(work / "runs", SECRET) == []
    for one in (finished, refused):
        assert SECRET not in one.stdout + one.stderr
    assert watch.seen == set()
    assert "file:" in " ".join(json.loads((work / "runs" / "latest" / "run.json").read_text())["command"])


def test_who_is_refused_is_told_what_to_give(done):
    _, refused, _, _ = done
    assert refused.returncode == 2
    assert "answers 401" in complaint(refused.stderr)
    assert "--header" in complaint(refused.stderr)


def test_an_endpoint_that_answers_wrong_later_loses_its_rounds_and_nothing_else(exported, ports, tmp_path):
    with faulty(ports[0], "--wrong-after", "500", "--wrong-every", "2") as front:
        finished = compare(exported, tmp_path / "runs", f"a=tfserving+http://127.0.0.1:{front}/m")
    assert finished.returncode == 0, finished.stderr
    measured = only_round(latest(tmp_path / "runs"), "a")
    assert not measured["valid"]
    assert "wrong_answers" in codes(measured)
    assert measured["wrong_count"] > 0
    assert (tmp_path / "runs" / "latest" / measured["samples_file"]).is_file()


def test_a_torchserve_that_runs_is_measured_over_rest_and_grpc(tmp_path):
    work = place(tmp_path)
    serve = ("serve", "torchserve", "--model", "tiny.py", "--runner", "local", "--json")
    with running(*serve, cwd=work) as process:
        facts = json.loads(process.stdout.readline())
        where = {name: url.rpartition("//")[2] for name, url in facts["endpoints"].items()}
        sides = {
            "rows": f"torchserve+http://{where['REST']}/predictions/tiny",
            "files": f"torchserve+http://{where['REST']}/tiny#npy",
            "calls": f"torchserve+grpc://{where['gRPC']}/tiny",
        }
        finished = endpoint_runs.compare(
            work, work / "runs", as_sides(sides), "--loads", "open:40", "--round-s", "0.5"
        )
        process.terminate()
        process.wait(60)
    assert finished.returncode == 0, finished.stderr
    run = latest(work / "runs")
    for name, body in (("rows", "json-rows"), ("files", "npy"), ("calls", "tensor-map")):
        assert run["targets"][name]["implementation"]["body"] == body
        assert run["targets"][name]["endpoint_parity"]["samples_count"] == SAMPLES_COUNT
        measured = only_round(run, name)
        assert measured["requests_count"] > 0
        assert (measured["errors_count"], measured["wrong_count"]) == (0, 0)

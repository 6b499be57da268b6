"""Tokens from a variable and a file, over REST and gRPC, in a comparison and a smoke test: no trace."""

import json
import os
import subprocess
import sys

import grpc
import pytest
from endpoint_runs import SAMPLES_COUNT, compare, latest, only_round
from main_job import HASTE, changed, tandem
from secrecy import CONTROL, Sight, holding, watched
from stub_endpoint import Refused, addresses, as_sides

pytestmark = pytest.mark.slow

PART = "0f-th3-t0k3ns-987654321"
"""Of both, so that one look finds either."""
OF_VARIABLE, OF_FILE = f"fr0m-v4r14bl3-{PART}", f"fr0m-f1l3-{PART}"
PROVEN = SAMPLES_COUNT + 5
AUDITED = """
import json, os, sys

def _noted(event, values):
    if event == "subprocess.Popen":
        with open("/proc/self/environ", "rb") as own, open("started.jsonl", "a") as started:
            _, arguments, _, given = values
            told = {"arguments": list(map(str, arguments)), "own": own.read().decode(errors="replace")}
            print(json.dumps(told | {"given": dict(os.environ if given is None else given)}), file=started)

sys.addaudithook(_noted)
"""
"""Notes what every process that Tandem starts is given, however short it lives."""


def quote(number: int) -> None:
    """Under load, quote the token in every fourth answer."""
    if number > PROVEN and number % 4 == 0:
        raise Refused(grpc.StatusCode.INTERNAL, f"you said Bearer {OF_FILE}")


@pytest.fixture(scope="module")
def done(stub, work):
    """One comparison with both tokens, and what the processes showed meanwhile."""
    (work / "token").write_text(f"{OF_FILE}\n")
    named = addresses(stub, secure=False)
    stub.before = quote
    with pytest.MonkeyPatch.context() as patch, watched(PART) as watch:
        patch.setenv("TOKEN", OF_VARIABLE)
        patch.setenv("INHERITED", CONTROL)
        finished = compare(
            work,
            work / "runs",
            as_sides({"rest": named["plain"], "calls": named["oip-grpc"]}),
            *("--header", "rest=Authorization: Bearer env:TOKEN"),
            *("--header", f"calls=Authorization: Bearer file:{work / 'token'}"),
            *("--loads", "open:60"),
            program=changed(HASTE, AUDITED),
        )
    assert finished.returncode == 0, finished.stderr
    return finished, watch


def test_each_side_is_sent_its_own_token_with_every_request(done, stub):
    for path, token in (("/predict", OF_VARIABLE), ("ModelInfer", OF_FILE)):
        asked = [one for one in stub.predictions if one.path.endswith(path)]
        assert len(asked) > PROVEN
        assert {one.headers.get("authorization") for one in asked} == {f"Bearer {token}"}


def test_no_file_and_no_output_has_them(done, work):
    finished, _ = done
    assert holding(work / "runs", PART) == []
    assert PART not in finished.stdout + finished.stderr
    command = " ".join(latest(work / "runs")["command"])
    assert "env:TOKEN" in command
    assert f"file:{work / 'token'}" in command


def test_what_a_server_quotes_of_them_is_blotted_out(done, work):
    (error,) = only_round(latest(work / "runs"), "calls")["errors"]
    assert error["kind"] == "grpc INTERNAL"
    assert error["count"] > 0
    assert error["example"] == "you said ***"


def test_no_process_that_is_started_is_given_them(done, work):
    _, watch = done
    started = [json.loads(line) for line in (work / "started.jsonl").read_text().splitlines()]
    (generator,) = (one for one in started if "loadtests.prefork" in one["arguments"])
    assert generator["given"]["INHERITED"] == CONTROL
    for one in started:
        assert PART not in json.dumps([one["arguments"], one["given"]])
    assert all(is_tandem_itself(sight) for sight in watch.seen), watch.seen


def is_tandem_itself(sight: Sight) -> bool:
    """Whether it is the command, which was given the variable, before it had read its options."""
    return " compare tiny.py " in sight.command and sight.where == "environment"


def test_what_the_system_says_of_tandem_itself_is_overwritten(done, work):
    started = [json.loads(line) for line in (work / "started.jsonl").read_text().splitlines()]
    (generator,) = (one for one in started if "loadtests.prefork" in one["arguments"])
    assert f"INHERITED={CONTROL}" in generator["own"]
    assert f"TOKEN={'*' * len(OF_VARIABLE)}" in generator["own"].split("\0")
    assert PART not in generator["own"]


def test_a_watch_sees_a_secret_in_arguments_and_in_environments():
    secret = "t0-be-f0und-1029384756"  # noqa: S105 - what is to be seen
    sleeping = [sys.executable, "-c", "print(flush=True); input()"]
    with watched(secret) as watch:
        for command, given in (([*sleeping, secret], {}), (sleeping, {"HIDDEN": secret})):
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
            with subprocess.Popen(command, env=os.environ | given, **pipes) as process:
                process.stdout.readline()  # until then it may still be a copy of this process
                watch.look(secret.encode())
    assert {sight.where for sight in watch.seen} == {"arguments", "environment"}


def test_a_smoke_test_leaves_no_trace_of_a_token(stub, work):
    stub.before = lambda _number: None
    before = len(stub.asked)
    with pytest.MonkeyPatch.context() as patch, watched(PART) as watch:
        patch.setenv("TOKEN", OF_VARIABLE)
        finished = tandem(
            *("smoke", "tiny.py", "--sides", f"a={addresses(stub, secure=False)['oip-grpc']}"),
            *("--header", "X-Api-Key: env:TOKEN", "--runs", str(work / "smoked"), "--max-rate", "50"),
            cwd=work,
        )
    assert finished.returncode == 0, finished.stderr
    assert {one.headers.get("x-api-key") for one in stub.asked[before:]} == {OF_VARIABLE}
    assert holding(work / "smoked", PART) == []
    assert PART not in finished.stdout + finished.stderr
    assert all(" smoke tiny.py " in sight.command for sight in watch.seen), watch.seen

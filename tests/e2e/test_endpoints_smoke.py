"""`tandem smoke` of servers given by their address: what passes, and which check names what is wrong."""

import json

import pytest
from endpoint_runs import SAMPLES_COUNT
from main_job import complaint, tandem
from stub_endpoint import addresses, as_sides

pytestmark = pytest.mark.slow

CHECKS = ("ready", "samples", "rows", "unknown-model", "load")
LIMIT_PER_S = 40


def smoke(work, sides, *options):
    """The finished command, and what it found by check."""
    given = ("--sides", as_sides(sides), "--max-rate", str(LIMIT_PER_S), "--json", *options)
    done = tandem("smoke", "tiny.py", *given, cwd=work)
    return done, {one["name"]: one for one in json.loads(done.stdout)["checks"]}


@pytest.fixture(scope="module")
def passed(stub, work):
    """One smoke test of three sides: rows that name no model, and the Open Inference Protocol twice."""
    named = addresses(stub, secure=False)
    sides = {"plain": named["plain"], "rest": named["oip-rest"], "calls": named["oip-grpc"]}
    done, found = smoke(work, sides, "--junit", "smoke.xml")
    assert done.returncode == 0, done.stderr
    return found, list(stub.predictions)


def test_every_check_that_makes_sense_passes(passed):
    found, _ = passed
    states = {name: one["state"] for name, one in found.items()}
    assert {states[f"{side}.{check}"] for side in ("rest", "calls") for check in CHECKS} == {"passed"}
    assert states.pop("plain.unknown-model") == "skipped"
    assert "name no model" in found["plain.unknown-model"]["detail"]
    assert set(states.values()) == {"passed"}
    assert found["calls.ready"]["detail"].startswith("stub at oip+grpc://")
    assert found["rest.samples"]["detail"].startswith(f"{SAMPLES_COUNT} samples right, 1 a request")


def test_the_short_load_keeps_to_the_highest_rate(passed):
    found, predictions = passed
    for side, path in (("plain", "/predict"), ("rest", "/v2/models/m/infer"), ("calls", "ModelInfer")):
        asked = [one for one in predictions if one.path.endswith(path)]
        # Each sample once by itself, and in groups of four.
        loaded = len(asked) - SAMPLES_COUNT - SAMPLES_COUNT // 4
        assert LIMIT_PER_S < loaded <= LIMIT_PER_S * 4, side
        assert found[f"{side}.load"]["state"] == "passed"


def test_wrong_answers_are_named_and_nothing_is_loaded(stub, work):
    stub.wrong, before = True, len(stub.predictions)
    try:
        done, found = smoke(work, {"a": addresses(stub, secure=False)["oip-grpc"]})
    finally:
        stub.wrong = False
    assert done.returncode == 1
    assert "smoke test failed at a.samples" in complaint(done.stderr)
    assert found["a.ready"]["state"] == "passed"
    assert found["a.samples"]["state"] == "failed"
    assert "expected" in found["a.samples"]["detail"]
    assert (found["a.rows"]["state"], found["a.load"]["state"]) == ("skipped", "skipped")
    assert len(stub.predictions) - before <= SAMPLES_COUNT + 1


def test_a_server_that_answers_for_a_model_it_does_not_have_fails(stub, work):
    stub.knows_all = True
    try:
        done, found = smoke(work, {"a": addresses(stub, secure=False)["oip-rest"]})
    finally:
        stub.knows_all = False
    assert done.returncode == 1
    failed = {name for name, one in found.items() if one["state"] == "failed"}
    assert failed == {"a.unknown-model"}
    assert "it gets status 200, expected 404" in found["a.unknown-model"]["detail"]


def test_a_model_that_the_server_does_not_have_is_named(stub, work):
    address = addresses(stub, secure=False)["tfserving-rest"].replace("/m", "/nobodys")
    done, found = smoke(work, {"a": address})
    assert done.returncode == 1
    assert found["a.ready"]["state"] == "failed"
    assert "has no model 'nobodys'" in found["a.ready"]["detail"]
    assert {found[f"a.{check}"]["state"] for check in CHECKS[1:]} == {"skipped"}

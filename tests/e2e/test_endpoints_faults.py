"""Servers given by their address that fail now and then: a line before any load, a code under it."""

import time
from contextlib import ExitStack

import grpc
import numpy as np
import pytest
from endpoint_runs import (
    MACHINE,
    SAMPLES_COUNT,
    codes,
    compare,
    faulty,
    latest,
    only_round,
    samples_of,
)
from main_job import complaint
from stub_endpoint import Refused, addresses, as_sides

pytestmark = pytest.mark.slow

PROVEN = SAMPLES_COUNT + 5
"""Before any load every sample is asked about, and one of them once more."""
PATIENCE_S = 1.0
FAULTS = {
    "closed": ({"closed"}, ("--close-every", "4")),
    "slow": ({"timeout"}, ("--slow-every", "4", "--slow-ms", f"{2000 * PATIENCE_S}")),
    "busy": ({"http 503"}, ("--busy-every", "4")),
    "many": ({"http 429"}, ("--busy-every", "4", "--busy-status", "429")),
    "moved": ({"http 307"}, ("--redirect-every", "4")),
}
"""By side: how its failures are called, and how they come to be."""


def stumble(number: int) -> None:
    """Over gRPC, by turns, refuse and stay silent."""
    if number > PROVEN and number % 8 == 0:
        raise Refused(grpc.StatusCode.UNAVAILABLE)
    if number > PROVEN and number % 4 == 0:
        time.sleep(2 * PATIENCE_S)


@pytest.fixture(scope="module")
def measured(stub, work):
    """One comparison of all of them, and of the server itself."""
    named = addresses(stub, secure=False)
    with ExitStack() as stack:
        ports = {
            name: stack.enter_context(faulty(stub.http, *faults, "--wrong-after", str(PROVEN)))
            for name, (_, faults) in FAULTS.items()
        }
        sides = {name: f"plain+http://127.0.0.1:{port}/predict" for name, port in ports.items()}
        sides |= {"calls": named["oip-grpc"], "fine": named["plain"]}
        stub.before = stumble
        done = compare(
            work,
            work / "runs",
            as_sides(sides),
            *("--loads", "open:60", "--timeout-s", str(PATIENCE_S)),
        )
    assert done.returncode == 0, done.stderr
    return latest(work / "runs"), work / "runs"


@pytest.mark.parametrize(
    ("side", "kinds"),
    [*((name, kinds) for name, (kinds, _) in FAULTS.items()), ("calls", {"grpc UNAVAILABLE", "timeout"})],
)
def test_a_server_that_fails_under_load_loses_its_rounds_and_no_sample(measured, side, kinds):
    run, runs = measured
    found = only_round(run, side)
    assert not found["valid"]
    assert "requests_failed" in codes(found)
    assert set(found["failed_checks"]) - {"clean"} <= MACHINE
    assert {one["kind"] for one in found["errors"]} == kinds
    samples = samples_of(runs, found)
    assert len(samples) == found["requests_count"]
    failed = samples.status != 200
    assert np.count_nonzero(failed) == found["errors_count"]
    # Every fourth, and no answer that was right is given up with it.
    assert 0.15 < np.mean(failed) < 0.35
    assert set(samples.correct[~failed]) == {1}


def test_the_sides_beside_them_are_none_the_worse(measured):
    run, _ = measured
    found = only_round(run, "fine")
    assert found["requests_count"] > 0
    assert set(found["failed_checks"]) <= MACHINE


def test_nobody_follows_a_redirect(measured, stub):
    assert stub.predictions
    assert "/elsewhere" not in {one.path for one in stub.asked}


@pytest.mark.parametrize(
    ("faults", "code", "words"),
    [
        (("--close-every", "1"), 3, "closed the connection without an answer"),
        (("--slow-every", "1", "--slow-ms", "2000"), 3, "timed out"),
        (("--busy-every", "1"), 3, "answers 503 and asks to come again after 1 s"),
        (("--redirect-every", "1"), 2, "redirects to /elsewhere"),
    ],
    ids=["closed", "slow", "busy", "moved"],
)
def test_a_server_that_fails_from_the_start_is_not_loaded(stub, work, tmp_path, faults, code, words):
    stub.before = lambda _number: None
    asked = len(stub.predictions)
    with faulty(stub.http, *faults) as port:
        side = f"a=plain+http://127.0.0.1:{port}/predict"
        done = compare(work, tmp_path / "runs", side, "--timeout-s", str(PATIENCE_S))
    assert done.returncode == code
    assert words in complaint(done.stderr)
    # The slow one's is passed on at last; nobody came back.
    assert len(stub.predictions) - asked <= 1

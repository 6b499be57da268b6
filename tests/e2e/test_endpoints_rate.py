"""--max-rate, counted where the requests arrive: in warm-up, conditioning, rounds, smoke test and search."""

import time

import numpy as np
import pytest
from endpoint_runs import SAMPLES_COUNT, codes, compare, latest, samples_of
from main_job import HASTE, changed, tandem
from stub_endpoint import OIP, addresses, as_sides

pytestmark = pytest.mark.slow

LIMIT_PER_S = 50
USERS = 4
BUSY = f"closed:{USERS}"
SLOW_S = 0.1
"""How long the slow one takes for each answer, so that one user is far from the limit."""
PROVEN = SAMPLES_COUNT + 5
MOST = LIMIT_PER_S + USERS + 1
"""In a second: every user's request may be late by a little, and the turns keep 1 % of a second."""
WARMED = """
from pipelines.config.profiles import PROFILES
PROFILES["smoke"] = PROFILES["smoke"].model_copy(
    update={"warmup_limit_s": 1, "conditioning_limit_s": 3, "retries": 0}
)
"""
SEARCH_PER_S = 400
SHORT_SEARCH = """
from pipelines.compare import slo
slo.START_RATE_PER_S = 1000.0
slo.search_one.__defaults__ = (None, 2)
"""
"""It would begin above what is allowed, and ends after two rounds."""


def most_in_a_second(times_ns) -> int:
    """As many requests as came within any second."""
    times = np.sort(np.asarray(times_ns))
    return int((np.searchsorted(times, times + 10**9) - np.arange(len(times))).max())


def test_a_full_second_is_found_wherever_it_begins():
    assert most_in_a_second(np.arange(100) * 10**7) == 100
    assert most_in_a_second([0, 9 * 10**8, 11 * 10**8, 18 * 10**8]) == 3


@pytest.fixture(scope="module")
def run(stub, work):
    """One comparison of a server that would answer more than is allowed, and of one that would not."""
    sides = addresses(stub, secure=False)
    stub.before = lambda number: time.sleep(SLOW_S if number > PROVEN else 0)
    done = compare(
        work,
        work / "runs",
        as_sides({"fast": sides["plain"], "slow": sides["oip-grpc"]}),
        *("--loads", f"closed:1,{BUSY}", "--max-rate", str(LIMIT_PER_S)),
        program=changed(WARMED),
    )
    assert done.returncode == 0, done.stderr
    return latest(work / "runs")


def round_of(run, name: str, load: str):
    """The one round of a side under a load."""
    (found,) = (one for one in run["targets"][name]["rounds"] if one["load"] == load)
    return found


def test_no_second_has_more_requests_than_are_allowed(run, stub, work):
    for name, path in (("fast", "/predict"), ("slow", f"{OIP}ModelInfer")):
        measured, (conditioned,) = round_of(run, name, BUSY), run["targets"][name]["conditionings"]
        # Before any load each sample is asked about, one after another.
        loaded = [one.at_ns for one in stub.predictions if one.path == path][PROVEN:]
        assert most_in_a_second(loaded) <= MOST
        assert most_in_a_second(samples_of(work / "runs", measured).sent_ns) <= MOST
        # All of it was load, and not held back by more than the limit.
        assert measured["warmup_requests_count"] > LIMIT_PER_S / 4
        assert sum(second["requests_count"] for second in conditioned["seconds"]) > LIMIT_PER_S
        assert LIMIT_PER_S / 2 < measured["requests_count"] <= MOST


def test_only_a_load_that_was_held_back_is_invalid_for_that(run):
    """It measures the limit; what it shows of the server is no finding."""
    for load in ("closed:1", BUSY):
        fast = round_of(run, "fast", load)
        assert "rate_capped" in codes(fast)
        assert "delivered" in fast["failed_checks"]
    assert "rate_capped" not in codes(round_of(run, "slow", "closed:1"))


def test_a_search_asks_for_no_more_than_is_allowed(stub, work, tmp_path):
    given = ("--sides", as_sides({"a": addresses(stub, secure=False)["plain"]}), "--profile", "smoke")
    done = tandem(
        *("slo", "tiny.py", *given, "--p99-ms", "500", "--round-s", "0.5", "--max-rate", str(SEARCH_PER_S)),
        *("--runs", str(tmp_path / "runs")),
        cwd=work,
        program=changed(HASTE, SHORT_SEARCH),
    )
    assert done.returncode in (0, 1), done.stderr
    points = latest(tmp_path / "runs")["slo"]["targets"]["a"]["points"]
    assert [point["rate_per_s"] for point in points] == [SEARCH_PER_S] * 2
    assert {float(point["load"].removeprefix("open:")) for point in points if "load" in point} <= {
        SEARCH_PER_S
    }

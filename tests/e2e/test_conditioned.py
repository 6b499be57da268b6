"""A server is conditioned until it is steady, and one that changes later is never compared before it did."""

import pytest
from known_session import compare, known_delay
from load_harness import GENERATOR_CORE, SERVER_CORE, several_tries

from pipelines.config.profiles import Profile
from pipelines.config.settings import MeasureSettings
from pipelines.machine.cores import Cores

pytestmark = [
    pytest.mark.slow,
    pytest.mark.alone,
    pytest.mark.timeout(600),
    pytest.mark.skipif(SERVER_CORE == GENERATOR_CORE, reason="needs two cores: one for each side"),
]


def settings(**changes):
    fields = {
        "name": "conditioned",
        "blocks": 1,
        "rounds": 3,
        "warmup_limit_s": 2.0,
        "conditioning_limit_s": 40.0,
        "round_s": 1.5,
        "loads": ("closed:4",),
        "control": False,
        "null": False,
        "retries": 2,
    }
    return MeasureSettings(
        profile=Profile(**fields | changes),
        cores=Cores(server=(SERVER_CORE,), generator=(GENERATOR_CORE,)),
        seed=3,
    )


@several_tries
def test_a_server_that_doubles_its_speed_is_not_compared_before_it_did(tmp_path):
    """Halve the delay after 14 s of load: the rounds see it, or the end of a long conditioning does."""
    chosen = settings()
    sides = [
        known_delay("doubling", chosen, "--delay", "constant:20", "--faster-after-s", "14"),
        known_delay("level", chosen, "--delay", "constant:10"),
    ]
    outcome = compare(sides, chosen, tmp_path)
    doubling, level = outcome.targets["doubling"], outcome.targets["level"]
    assert_steady_from_the_start(level, tmp_path)
    # What was seen is on record, whatever the machine made of the rest. A noisy machine makes the first
    # conditioning longer than its ten seconds; one that outlasts the change has to see it.
    first = doubling.conditionings[0]
    assert first.state == "steady"
    seen_before_the_rounds = first.seconds[-1].p50_ms < 15
    if seen_before_the_rounds:
        assert first.until_steady_s > 0
    else:
        assert doubling.drifts
        assert doubling.drifts[0].change == pytest.approx(1, abs=0.3)
    for comparison in outcome.comparisons:
        if comparison.reason.code == "still_warming_up":
            assert comparison.verdict == "inconclusive"
        elif comparison.metric == "p50" and comparison.ratio is not None:
            assert comparison.ratio == pytest.approx(1, abs=0.1)
    if doubling.drifts and doubling.drifts[-1].resolved:
        assert len(doubling.conditionings) > 1
        set_aside = [r for r in (*doubling.rounds, *level.rounds) if "drift" in r.failed_checks]
        assert {r.target for r in set_aside} == {"doubling", "level"}
        assert not any(r.valid for r in set_aside)


def assert_steady_from_the_start(level, folder):
    """A steady server is conditioned for at most twelve seconds, and its curve is kept."""
    found = level.conditionings[0]
    assert (found.state, found.until_steady_s) == ("steady", 0)
    assert 10 <= found.duration_s <= 12
    assert len(found.seconds) >= 10
    assert all(second.p50_ms == pytest.approx(10, abs=2) for second in found.seconds)
    assert sum(second.requests_count for second in found.seconds) <= found.requests_count
    assert len(found.samples_files) == 2
    assert all((folder / one).is_file() for one in found.samples_files)
    assert sum(second.resumed for second in found.seconds) == 1

"""Where a search begins, and what is noted of it; the search itself is in test_slo.py."""

from types import SimpleNamespace

import pytest

from loadtests.slo import SloResult
from pipelines import slo_searching
from pipelines.record import ConditioningRecord, SecondRecord, SloBlockRecord
from pipelines.slo_searching import SloQuestion


def run_with(blocks=(), conditionings=()):
    slo = slo_searching._empty(SloQuestion(p99_limit_ms=20, hourly_price=None), ["a", "b"])
    targets = {**slo.targets, "a": slo.targets["a"].model_copy(update={"blocks": tuple(blocks)})}
    measured = {"a": SimpleNamespace(conditionings=list(conditionings))}
    session = SimpleNamespace(measured=measured, say=str)
    return SimpleNamespace(slo=slo.model_copy(update={"targets": targets}), session=session)


def block(place, outcome, rate, breaks=None):
    return SloBlockRecord(
        block=place, outcome=outcome, rate_per_s=rate, breaks_at_per_s=breaks, rounds_count=9, reason=None
    )


def conditioning(*requests_counts):
    seconds = tuple(SecondRecord.model_construct(requests_count=count) for count in requests_counts)
    return ConditioningRecord.model_construct(block=0, seconds=seconds)


def test_without_anything_known_a_search_begins_low_and_doubles():
    assert slo_searching._beginning(run_with(), "a") == (slo_searching.START_RATE_PER_S, 2.0)
    nothing_found = [block(0, "none", None), block(1, "not_measured", None)]
    assert slo_searching._beginning(run_with(nothing_found), "a") == (slo_searching.START_RATE_PER_S, 2.0)


def test_the_first_search_begins_below_what_conditioning_ended_with():
    """The first seconds are a cold server's, and one second may be a pause."""
    cold_then_warm = conditioning(100, 200, 300, 990, 1000, 40, 1010, 1020)
    assert slo_searching._beginning(run_with(conditionings=[cold_then_warm]), "a") == (500, 2.0)
    assert slo_searching._beginning(run_with(conditionings=[conditioning(2, 2)]), "a")[0] == 5


@pytest.mark.parametrize(
    ("blocks", "expected"),
    [
        ([block(0, "found", 400, 420)], (400, pytest.approx(1.05))),
        ([block(0, "found", 400, 480)], (400, pytest.approx(1.2))),
        ([block(0, "found", 400, 2000)], (400, 2.0)),
        # A bracket narrower than the resolution still needs a step that leads somewhere.
        ([block(0, "found", 400, 401)], (400, pytest.approx(1.05))),
        ([block(0, "lower_bound", 400, None)], (400, 2.0)),
        ([block(0, "found", 400, 420), block(1, "found", 300, 315)], (300, pytest.approx(1.05))),
        ([block(0, "found", 400, 420), block(1, "not_measured", None)], (400, pytest.approx(1.05))),
    ],
)
def test_a_later_search_begins_at_the_last_bracket(blocks, expected):
    assert slo_searching._beginning(run_with(blocks, [conditioning(5000)]), "a") == expected


@pytest.mark.parametrize("outcome", ["found", "lower_bound", "none", "not_measured"])
def test_every_blocks_outcome_rate_and_bracket_are_kept(outcome):
    run = run_with([block(0, "found", 400, 420)])
    rate, breaks = (None, 5.0) if outcome in ("none", "not_measured") else (380.0, 399.0)
    slo_searching._note(run, "a", 1, SloResult(outcome, rate, breaks, "so it is", ()))
    first, second = run.slo.targets["a"].blocks
    assert first.rate_per_s == 400
    assert (second.block, second.outcome, second.rate_per_s, second.breaks_at_per_s, second.reason) == (
        1,
        outcome,
        rate,
        breaks,
        "so it is",
    )
    assert run.slo.targets["b"].blocks == ()

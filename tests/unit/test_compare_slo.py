"""Where a search begins, and what is noted of it; the search itself is in test_slo.py."""

import contextlib
from types import SimpleNamespace

import pytest

from loadtests.rates import RateMeasurement
from loadtests.reason import Reason
from loadtests.slo import SloResult
from pipelines.compare import slo as slo_searching
from pipelines.compare.slo import SloQuestion
from pipelines.record.conditioning import ConditioningRecord, SecondRecord
from pipelines.record.reason import ReasonRecord
from pipelines.record.slo import SloBlockRecord


def run_with(blocks=(), conditionings=()):
    slo = slo_searching.empty_slo(SloQuestion(p99_limit_ms=20, hourly_price=None), ["a", "b"], 0.05)
    targets = {**slo.targets, "a": slo.targets["a"].model_copy(update={"blocks": tuple(blocks)})}
    measured = {"a": SimpleNamespace(conditionings=list(conditionings))}
    session = SimpleNamespace(measured=measured, say=str)
    return SimpleNamespace(slo=slo.model_copy(update={"targets": targets}), session=session)


FIGURES = {"p99_limit_ms": 20.0, "rate_per_s": 380.0}


def block(place, outcome, rate, breaks=None):
    return SloBlockRecord(
        block=place, outcome=outcome, rate_per_s=rate, breaks_at_per_s=breaks, rounds_count=9, reason=None
    )


def conditioning(*requests_counts):
    seconds = tuple(SecondRecord.model_construct(requests_count=count) for count in requests_counts)
    return ConditioningRecord.model_construct(block=0, seconds=seconds)


def test_without_anything_known_a_search_begins_low_and_doubles():
    assert slo_searching.beginning(run_with(), "a") == (slo_searching.START_RATE_PER_S, 2.0)
    nothing_found = [block(0, "none", None), block(1, "not_measured", None)]
    assert slo_searching.beginning(run_with(nothing_found), "a") == (slo_searching.START_RATE_PER_S, 2.0)


def test_the_first_search_begins_below_what_conditioning_ended_with():
    """The first seconds are a cold server's, and one second may be a pause."""
    cold_then_warm = conditioning(100, 200, 300, 990, 1000, 40, 1010, 1020)
    assert slo_searching.beginning(run_with(conditionings=[cold_then_warm]), "a") == (500, 2.0)
    assert slo_searching.beginning(run_with(conditionings=[conditioning(2, 2)]), "a")[0] == 5


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
    assert slo_searching.beginning(run_with(blocks, [conditioning(5000)]), "a") == expected


@pytest.mark.parametrize("outcome", ["found", "lower_bound", "none", "not_measured"])
def test_every_blocks_outcome_rate_and_bracket_are_kept(outcome):
    run = run_with([block(0, "found", 400, 420)])
    rate, breaks = (None, 5.0) if outcome in ("none", "not_measured") else (380.0, 399.0)
    slo_searching._note(run, "a", 1, SloResult(outcome, rate, breaks, Reason("limit_kept", FIGURES), ()))
    first, second = run.slo.targets["a"].blocks
    assert first.rate_per_s == 400
    assert (second.block, second.outcome, second.rate_per_s, second.breaks_at_per_s, second.reason) == (
        1,
        outcome,
        rate,
        breaks,
        ReasonRecord(code="limit_kept", figures=FIGURES),
    )
    assert run.slo.targets["b"].blocks == ()


CAPACITY_PER_S = 700.0


def searched(
    monkeypatch, blocks_count, *, stop_after=10**6, conditioning_limit_s=80.0, cold=(), compiling=()
):
    """A run of `search_one` per block on a server that keeps the limit up to a rate, without any server."""
    run = run_with()
    run.session.measured["a"].conditionings.append(conditioning(1000))
    run.settings = SimpleNamespace(
        profile=SimpleNamespace(
            round_s=3.0, slo_round_s=None, warmup_limit_s=2.0, conditioning_limit_s=conditioning_limit_s
        ),
        max_rate_per_s=None,
        timeout_s=10.0,
    )
    run.folder, run.slo_points = None, {}
    windows_s = {}

    def measure_once(session, planned, attempt, servers, round_s, timeout_s):
        assert timeout_s == 2.0
        if len(windows_s) >= stop_after:
            raise KeyboardInterrupt
        rate = float(planned.load.removeprefix("open:"))
        windows_s[len(windows_s)] = (rate, round_s)
        return SimpleNamespace(record=SimpleNamespace(index=len(windows_s), block=planned.block))

    def as_measurement(driven, rate_per_s, folder):
        number = driven.record.index
        kept = rate_per_s <= CAPACITY_PER_S and number not in cold
        reasons = (Reason("compilers_worked", {}),) if number in compiling else ()
        return RateMeasurement(rate_per_s, 10.0 if kept else 30.0, 0.0, reasons=reasons)

    monkeypatch.setattr(slo_searching, "measure_once", measure_once)
    monkeypatch.setattr(slo_searching, "as_rate_measurement", as_measurement)
    with contextlib.suppress(KeyboardInterrupt):
        for number in range(blocks_count):
            slo_searching.search_one(run, SloQuestion(20, None), number, "a", {})
    return run, windows_s


def test_later_searches_begin_at_the_bracket_and_find_the_same_rate_with_fewer_rounds(monkeypatch):
    run, windows_s = searched(monkeypatch, 3)
    blocks, points = run.slo.targets["a"].blocks, run.slo_points["a"]
    assert [one.outcome for one in blocks] == ["found"] * 3
    assert len({one.rate_per_s for one in blocks}) == 1
    assert CAPACITY_PER_S / 1.05 <= blocks[0].rate_per_s <= CAPACITY_PER_S < blocks[0].breaks_at_per_s
    # Conditioning, both ends of the bracket, three confirmations, and the upper end again.
    assert [one.rounds_count for one in blocks[1:]] == [7, 7] < [blocks[0].rounds_count] * 2
    assert len(points) == len(windows_s) == sum(one.rounds_count for one in blocks)
    for one in blocks:
        own = [point for point in points if point.block == one.block]
        *confirming, again = [(p.phase, p.met, p.rate_per_s) for p in own[-4:]]
        assert confirming == [("confirm", True, one.rate_per_s)] * 3
        assert again == ("search", False, one.breaks_at_per_s)
        assert [point.phase for point in own[:2]] == ["condition", "search"]
        assert own[0].rate_per_s == (500 if one.block == 0 else blocks[0].rate_per_s)


def test_rounds_are_long_enough_for_a_p99(monkeypatch):
    _, windows_s = searched(monkeypatch, 1)
    for rate, window_s in windows_s.values():
        assert window_s >= 3.0
        assert rate * window_s >= 662


def test_an_open_load_conditions_a_server_before_a_round_counts(monkeypatch):
    run, windows_s = searched(monkeypatch, 2)
    firsts = [point.round_index - 1 for point in run.slo_points["a"] if point.phase == "condition"]
    assert [point.block for point in run.slo_points["a"] if point.phase == "condition"] == [0, 1]
    assert [window_s for number, (_, window_s) in windows_s.items() if number in firsts] == [8.0, 8.0]
    assert {window_s for number, (_, window_s) in windows_s.items() if number not in firsts} == {3.0}


@pytest.mark.parametrize(
    ("cold", "compiling", "conditioned"),
    [([], [], 1), ([1], [], 2), ([1, 2, 3, 4], [], 3), ([], [1, 2, 3, 4], 5), ([1, 2, 3], [1, 2], 3)],
)
def test_an_open_load_goes_on_until_the_limit_is_kept_or_compilers_rest(
    monkeypatch, cold, compiling, conditioned
):
    run, windows_s = searched(monkeypatch, 1, cold=cold, compiling=compiling)
    phases = [point.phase for point in run.slo_points["a"]]
    assert phases[: conditioned + 1] == ["condition"] * conditioned + ["search"]
    lengths = [window_s for _, window_s in windows_s.values()]
    assert lengths == [8.0] * conditioned + [3.0] * (len(lengths) - conditioned)


def test_a_profile_without_conditioning_has_none_of_an_open_load_either(monkeypatch):
    run, windows_s = searched(monkeypatch, 1, conditioning_limit_s=0)
    assert {point.phase for point in run.slo_points["a"]} == {"search", "confirm"}
    assert {window_s for _, window_s in windows_s.values()} == {3.0}


def test_an_interrupted_search_keeps_its_points_and_notes_no_outcome(monkeypatch):
    run, windows_s = searched(monkeypatch, 2, stop_after=4)
    assert len(windows_s) == len(run.slo_points["a"]) == 4
    assert run.slo.targets["a"].blocks == ()


@pytest.mark.parametrize(
    ("limit_ms", "timeout_s", "expected_s"),
    [(20, 10, 2), (5, 10, 2), (50, 10, 5), (500, 10, 10), (20, 0.5, 0.5)],
)
def test_a_search_waits_for_no_answer_that_could_not_change_anything(limit_ms, timeout_s, expected_s):
    assert slo_searching.search_timeout_s(limit_ms, timeout_s) == expected_s

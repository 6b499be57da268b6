"""Rates, bounds and blocks without either: what may be said of a target, of two, and of what they cost."""

import math

import pytest
from report_slo_fixture import make_slo_run
from test_report_tune import make_tune

from pipelines.judge.slo import judge_slo
from pipelines.judge.summarise import summarise
from pipelines.record.reason import reason
from pipelines.record.slo import SloBlockRecord, SloRecord, SloTargetRecord

RESOLUTION = 0.05


def block(place, outcome, rate):
    return SloBlockRecord(
        block=place,
        outcome=outcome,
        rate_per_s=rate,
        breaks_at_per_s=None,
        rounds_count=9,
        reason=reason(outcome),
    )


def side(*found):
    """A target whose blocks found these: a rate, a bound such as ">3000", or the outcome without a rate."""
    blocks = []
    for place, one in enumerate(found):
        if one in ("none", "not_measured"):
            blocks.append(block(place, one, None))
        elif isinstance(one, str):
            blocks.append(block(place, "lower_bound", float(one[1:])))
        else:
            blocks.append(block(place, "found", float(one)))
    return target(blocks=tuple(blocks))


def target(**changes):
    nothing = dict.fromkeys(("rate_per_s", "interval", "cost_per_million", "cost_interval", "reason"))
    fields = nothing | {"block_rates_per_s": (), "lower_bound": False, "points": ()}
    return SloTargetRecord(**(fields | changes))


def judged(candidate, baseline=None, price=3.6, rows=1):
    targets = {"a": candidate} | ({"b": baseline} if baseline else {})
    return judge_slo(
        SloRecord(
            p99_limit_ms=20,
            resolution=RESOLUTION,
            hourly_price=price,
            targets=targets,
            candidate="a",
            baseline="b" if baseline else None,
            ratio=None,
            interval=None,
            reason=None,
        ),
        seed=1,
        rows=rows,
    )


def test_every_row_of_a_request_is_an_inference_that_is_paid_for():
    alone, eight = judged(side(100, 110, 121)), judged(side(100, 110, 121), rows=8)
    assert eight.targets["a"].cost_per_million == pytest.approx(1000 / 110 / 8)
    assert eight.targets["a"].cost_interval == pytest.approx(
        [end / 8 for end in alone.targets["a"].cost_interval]
    )
    assert judged(side(">3000"), rows=8).targets["a"].cost_at_most == pytest.approx(1000 / 3000 / 8)
    assert eight.hourly_price == 3.6


def test_rates_of_all_blocks_give_their_geometric_mean_an_interval_and_a_cost():
    found = judged(side(100, 110, 121)).targets["a"]
    assert found.rate_per_s == pytest.approx(110)
    low, high = found.interval
    assert low < 100
    assert high > 121
    assert found.cost_per_million == pytest.approx(1000 / 110)
    assert found.cost_interval == pytest.approx((1000 / found.interval[1], 1000 / found.interval[0]))
    assert (found.at_least_per_s, found.cost_at_most, found.lower_bound, found.reason) == (
        None,
        None,
        False,
        None,
    )
    assert found.block_rates_per_s == (100, 110, 121)


def test_a_bound_is_a_bound_and_no_value():
    found = judged(side(2500, ">3000", ">3200")).targets["a"]
    assert (found.rate_per_s, found.interval) == (None, None)
    assert (found.cost_per_million, found.cost_interval) == (None, None)
    assert found.at_least_per_s == pytest.approx((2500 * 3000 * 3200) ** (1 / 3))
    assert found.cost_at_most == pytest.approx(1000 / found.at_least_per_s)
    assert found.lower_bound
    assert found.reason == reason("lower_bound", block=1)
    assert found.block_rates_per_s == (2500, None, None)


@pytest.mark.parametrize("lost", ["none", "not_measured"])
@pytest.mark.parametrize("other", [300, ">300"])
def test_a_block_without_a_rate_leaves_no_estimate_no_bound_and_no_cost(lost, other):
    """The mean of the blocks that found one would be too good."""
    found = judged(side(100, lost, other), side(50, 50, 50))
    one = found.targets["a"]
    assert (one.rate_per_s, one.at_least_per_s, one.interval) == (None, None, None)
    assert (one.cost_per_million, one.cost_at_most, one.cost_interval) == (None, None, None)
    assert one.reason == reason(lost, block=1)
    assert (found.ratio, found.interval, found.ratio_at_least, found.ratio_at_most) == (None,) * 4
    code = {"none": "side_without_rate", "not_measured": "side_gave_up"}[lost]
    assert found.reason == reason(code, side="a")


def test_every_blocks_pair_gives_a_ratio():
    found = judged(side(100, 200, 400), side(50, 80, 200))
    assert [one.ratio for one in found.block_ratios] == [2, 2.5, 2]
    assert found.ratio == pytest.approx((2 * 2.5 * 2) ** (1 / 3))
    low, high = found.interval
    assert low < 2
    assert high > 2.5
    assert {one.bound for one in found.block_ratios} == {None}


def test_one_bound_gives_a_one_sided_limit():
    """By hand for one pair of rates in each of three blocks: t(0.95, 2) = 2.92 on the logarithms."""
    ours, theirs = (">3000", ">3000", ">3000"), (1000, 1100, 900)
    logs = [math.log(3000 / rate) for rate in theirs]
    mean = sum(logs) / 3
    error = math.sqrt(sum((x - mean) ** 2 for x in logs) / 2 / 3)
    found = judged(side(*ours), side(*theirs))
    assert (found.ratio, found.interval, found.ratio_at_most, found.reason) == (None,) * 4
    by_hand = math.exp(mean - 2.92 * error) / (1 + RESOLUTION)
    assert found.ratio_at_least == pytest.approx(by_hand, rel=0.02)
    assert [one.bound for one in found.block_ratios] == ["at_least"] * 3
    mirrored = judged(side(*theirs), side(*ours))
    assert mirrored.ratio_at_most == pytest.approx(1 / found.ratio_at_least)
    assert (mirrored.ratio, mirrored.ratio_at_least) == (None, None)


def test_one_bound_among_rates_is_enough_to_leave_one_side_open():
    found = judged(side(1000, ">1000", 1000), side(500, 500, 500))
    assert (found.ratio, found.interval) == (None, None)
    assert 1.8 < found.ratio_at_least < 2


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [((">3000", ">3000"), (">3000", ">3000")), ((">3000", 2000), (2000, ">3000"))],
)
def test_two_bounds_say_nothing(ours, theirs):
    found = judged(side(*ours), side(*theirs))
    assert (found.ratio, found.interval, found.ratio_at_least, found.ratio_at_most) == (None,) * 4
    assert found.reason == reason("both_bounded")
    assert all(one.bound for one in found.block_ratios)


def test_one_block_gives_a_ratio_without_an_interval():
    found = judged(side(300), side(100))
    assert (found.ratio, found.interval) == (pytest.approx(3), None)
    assert found.reason == reason("one_block")
    assert judged(side(">300"), side(100)).ratio_at_least == pytest.approx(3 / (1 + RESOLUTION))


def test_a_run_that_ended_early_uses_the_blocks_that_both_have():
    found = judged(side(100, 110, 120), side(50, 55))
    assert [one.block for one in found.block_ratios] == [0, 1]
    assert found.ratio == pytest.approx(2)
    assert judged(side(100), target()).reason == reason("side_without_search", side="b")
    assert judged(side(100)).ratio is None


def test_judging_again_changes_nothing_and_an_older_record_is_read():
    for found in (judged(side(100, ">110"), side(50, 60)), judged(side(1, "none"), side(">2", 3))):
        assert judge_slo(found, seed=1) == found
    old = judged(target(block_rates_per_s=(100.0, None)), target(block_rates_per_s=(50.0, 60.0)))
    assert [one.outcome for one in old.targets["a"].blocks] == ["found", "none"]
    assert (old.targets["a"].rate_per_s, old.ratio) == (None, None)
    bounded = judged(target(block_rates_per_s=(100.0, 90.0), lower_bound=True), side(50, 60))
    assert bounded.targets["a"].rate_per_s is None
    assert bounded.ratio_at_least is not None
    assert judge_slo(bounded, seed=1) == bounded


def ratio_fields(found):
    return [getattr(found, name) for name in ("ratio", "interval", "ratio_at_least", "ratio_at_most")]


@pytest.mark.parametrize("baseline", [50, ">50"])
def test_a_profile_without_verdicts_gives_rates_and_no_ratio(baseline, tmp_path):
    """`smoke` conditions no server: what one sustains `times` the other would be a warm-up."""
    searched = judged(side(100, 110, 120), side(baseline, 55, 60))
    run = make_slo_run().model_copy(update={"targets": {}, "slo": searched})
    assert run.profile is not None
    told = summarise(run, tmp_path).slo
    assert any(ratio_fields(told))
    smoke = run.profile.model_copy(update={"verdicts": False})
    silent = summarise(run.model_copy(update={"profile": smoke}), tmp_path).slo
    assert ratio_fields(silent) == [None] * 4
    assert silent.reason == reason("profile")
    assert silent.targets == told.targets
    assert silent.targets["a"].rate_per_s == pytest.approx((100 * 110 * 120) ** (1 / 3))


def test_why_a_side_has_no_rate_is_said_before_what_the_profile_leaves_out():
    found = judged(side("none"), side(100))
    assert judge_slo(found, seed=1, verdicts=False).reason == reason("side_without_rate", side="a")


@pytest.mark.parametrize("verdicts", [True, False])
def test_a_search_for_a_configuration_claims_nothing_by_such_a_profile_either(verdicts, tmp_path):
    run = make_slo_run().model_copy(update={"targets": {}, "tune": make_tune(), "kind": "tune"})
    profile = run.profile.model_copy(update={"verdicts": verdicts})
    (claim,) = (
        summarise(run.model_copy(update={"profile": profile}), tmp_path).tune.sides["torchserve"].claims
    )
    assert (claim.ratio is not None) == (claim.interval is not None) == verdicts
    assert (claim.reason == reason("profile")) == (not verdicts)

"""Which noise floor a pair is judged against, from rounds whose figures are given."""

import math

import pytest

from pipelines.judge.verdicts import by_place, judge, pair_rounds
from pipelines.record.conditioning import ConditioningRecord, DriftRecord
from pipelines.record.rounds import LatencyRecord, RoundRecord
from pipelines.record.target import TargetRecord

LOAD = "closed:8"


def latency(value):
    return LatencyRecord(p50=value, p90=value, p95=value, p99=value, min=1, max=1, mean=1, reasons={})


def rounds(values):
    """Valid rounds of one load; `values` by block."""
    return tuple(
        RoundRecord.model_construct(
            block=block,
            repetition=repetition,
            load=LOAD,
            valid=True,
            latency_ms=latency(value),
            throughput_per_s=1000 / value,
            cpu_steal_share=None,
        )
        for block, own in values.items()
        for repetition, value in enumerate(own)
    )


def target(values, control_of=None):
    role = "control" if control_of else "compared"
    return TargetRecord.model_construct(role=role, control_of=control_of, rounds=rounds(values))


SLOW = {0: (2.0, 2.02, 1.98), 1: (2.01, 1.99, 2.0)}
FAST = {0: (1.0, 1.01, 0.99), 1: (1.0, 1.01, 0.99)}


def floors(targets):
    controls, comparisons = judge(targets, margin=0.05, seed=1)
    (p50,) = [one for one in comparisons if one.metric == "p50"]
    return {one.target: one.noise_floor for one in controls if one.metric == "p50"}, p50


@pytest.mark.parametrize("loud", ["slow", "fast"])
def test_a_pair_is_judged_against_the_larger_floor_whichever_side_has_it(loud):
    """One side's control is steady, the other's is off by three times: that must hide a factor of two."""
    sides = {"slow": SLOW, "fast": FAST}
    targets = {name: target(values) for name, values in sides.items()}
    for name, values in sides.items():
        factor = 3.0 if name == loud else 1.0
        own = {block: tuple(factor * value for value in found) for block, found in values.items()}
        targets[f"{name}-control"] = target(own, control_of=name)
    known, found = floors(targets)
    assert known[loud] > 1.9
    assert min(known.values()) < 0.1
    assert found.noise_floor == known[loud]
    assert found.verdict == "inconclusive"


def test_two_quiet_controls_let_a_difference_be_called_also_from_one_block_each():
    targets = {
        "slow": target(SLOW),
        "fast": target(FAST),
        "slow-control": target({0: SLOW[0]}, "slow"),
        "fast-control": target({1: FAST[1]}, "fast"),
    }
    known, found = floors(targets)
    assert set(known) == {"slow", "fast"}
    assert found.verdict == "worse"


@pytest.mark.parametrize("rounds_count", [1, 2, 3])
def test_a_control_that_lost_rounds_to_the_machine_still_gives_a_floor(rounds_count):
    """Two pairs alone have a t of 12.7: 3.5 times as slow was not called, within a floor of 358 %."""
    loud = {0: (20.0, 21.5, 19.0), 1: (21.0, 19.5, 22.0)}
    control = {0: (19.2, 21.9, 20.4)[:rounds_count]}
    targets = {
        "slow": target(loud),
        "fast": target({block: tuple(value / 3.5 for value in values) for block, values in loud.items()}),
        "slow-control": target(control, "slow"),
        "fast-control": target({1: (5.7, 5.8, 5.6)}, "fast"),
    }
    known, found = floors(targets)
    assert 0.05 < known["slow"] < 0.5
    assert found.verdict == "worse"
    assert found.noise_floor == max(known.values())


@pytest.mark.parametrize("only", ["slow", "fast", None])
def test_a_side_without_a_usable_control_is_named_and_nothing_is_called(only):
    targets = {"slow": target(SLOW), "fast": target(FAST)}
    if only:
        targets[f"{only}-control"] = target({"slow": SLOW, "fast": FAST}[only], control_of=only)
    # A control without a valid round is there and is of no use.
    other = "fast" if only == "slow" else "slow"
    targets[f"{other}-control"] = target({0: ()}, control_of=other)
    _, found = floors(targets)
    assert math.isclose(found.ratio, 2, rel_tol=0.05)
    assert (found.verdict, found.noise_floor, found.rounds_needed) == ("inconclusive", None, None)
    assert found.reason.code == "no_floor"
    assert other in found.reason.figures["sides"]


def test_a_target_against_itself_is_equivalent_and_each_name_has_its_floor():
    targets = {
        "tfserving": target(FAST),
        "tfserving-2": target(FAST),
        "tfserving-control": target(FAST, "tfserving"),
        "tfserving-2-control": target(FAST, "tfserving-2"),
    }
    known, found = floors(targets)
    assert set(known) == {"tfserving", "tfserving-2"}
    assert (found.candidate, found.baseline) == ("tfserving", "tfserving-2")
    assert found.verdict == "equivalent"


def both(slow, **kwargs):
    """The comparisons with a side that always takes 1, by metric; `slow` holds the ratios by block."""
    flat = {block: (1.0,) * len(own) for block, own in slow.items()}
    targets = {
        "slow": target(slow),
        "fast": target(flat),
        "slow-control": target(slow, "slow"),
        "fast-control": target(flat, "fast"),
    }
    return {one.metric: one for one in judge(targets, margin=0.05, seed=1, **kwargs)[1]}


# The 95 % interval lies just beyond the margin; that of 98.3 %, for one of three, reaches across it.
NEAR = {0: (1.084, 1.089, 1.052), 1: (1.06, 1.089, 1.108)}


@pytest.mark.parametrize("primary", ["p99", "p50", "throughput_per_s"])
def test_only_the_primary_metric_is_judged_by_itself_and_it_comes_first(primary):
    found = both(NEAR, primary=primary)
    assert next(iter(found)) == primary
    assert [one.metric for one in found.values() if one.is_primary] == [primary]
    assert found[primary].verdict_confidence == pytest.approx(0.95)
    assert found[primary].verdict_interval == found[primary].interval
    for metric, one in found.items():
        if metric != primary:
            assert one.verdict_confidence == pytest.approx(1 - 0.05 / 3)
            assert one.verdict_interval[0] < one.interval[0]
            assert one.verdict_interval[1] > one.interval[1]


def test_what_the_primary_metric_may_say_the_others_may_not():
    """All four metrics have the same figures here: the correction alone makes the difference."""
    found = both(NEAR)
    assert found["p99"].verdict == "worse"
    assert {found[metric].verdict for metric in ("p50", "p95", "throughput_per_s")} == {"inconclusive"}
    assert all(one.interval[0] > 1.05 or one.interval[1] < 1 / 1.05 for one in found.values())


def without_p99(values):
    made = target(values)
    rounds_without = tuple(
        one.model_copy(
            update={
                "latency_ms": one.latency_ms.model_copy(update={"p99": None, "reasons": {"p99": "too few"}})
            }
        )
        for one in made.rounds
    )
    return made.model_copy(update={"rounds": rounds_without})


def test_without_a_p99_nothing_takes_its_place():
    targets = {
        "slow": without_p99(SLOW),
        "fast": without_p99(FAST),
        "slow-control": target(SLOW, "slow"),
        "fast-control": target(FAST, "fast"),
    }
    found = {one.metric: one for one in judge(targets, margin=0.05, seed=1)[1]}
    assert [one.metric for one in found.values() if one.is_primary] == ["p99"]
    assert (found["p99"].verdict, found["p99"].reason.code) == (None, "too_few_pairs")
    assert all(found[m].verdict_confidence > 0.95 for m in ("p50", "p95"))


def test_a_profile_without_verdicts_gives_ratios_and_intervals_alone():
    for one in both(SLOW, verdicts=False).values():
        assert one.ratio is not None
        assert one.interval is not None
        assert (one.verdict, one.reason.code, one.rounds_needed) == (None, "profile", None)
        assert (one.verdict_confidence, one.verdict_interval) == (None, None)


@pytest.mark.parametrize("resolved", [True, False])
@pytest.mark.parametrize("side", ["slow", "fast"])
def test_a_side_that_was_still_warming_up_gets_no_verdict(side, resolved):
    targets = {
        "slow": target(SLOW),
        "fast": target(FAST),
        "slow-control": target(SLOW, "slow"),
        "fast-control": target(FAST, "fast"),
    }
    drift = DriftRecord(block=0, load="closed:8", change=0.5, resolved=resolved)
    elsewhere = DriftRecord(block=0, load="closed:1", change=0.5, resolved=False)
    slower = DriftRecord(block=1, load="closed:8", change=-0.4, resolved=False)
    targets[side] = targets[side].model_copy(update={"drifts": (drift, elsewhere, slower)})
    _, comparisons = judge(targets, margin=0.05, seed=1)
    words = {one.verdict for one in comparisons}
    codes = {one.reason.code for one in comparisons}
    if resolved:
        assert "inconclusive" not in words
    else:
        assert (words, codes) == ({"inconclusive"}, {"still_warming_up"})
        assert all(one.reason.figures["sides"] == (side,) for one in comparisons)


def conditioned(*states, block=0):
    """Conditionings of a block, one after the other, that ended so."""
    return tuple(ConditioningRecord.model_construct(block=block, state=state) for state in states)


ONE_EACH = {0: (2.0,), 1: (2.01,)}
ONE_EACH_FAST = {0: (1.0,), 1: (1.01,)}
STEADY = conditioned("steady", block=1)


def judged_codes(slow, fast, conditionings, side="slow"):
    """The codes of all verdicts, where `side` was conditioned so and the other one was found steady."""
    targets = {
        "slow": target(slow),
        "fast": target(fast),
        "slow-control": target(slow, "slow"),
        "fast-control": target(fast, "fast"),
    }
    for name in ("slow", "fast"):
        given = conditionings if name == side else (*conditioned("steady"), *STEADY)
        targets[name] = targets[name].model_copy(update={"conditionings": given})
    _, comparisons = judge(targets, margin=0.05, seed=1)
    assert all(
        one.reason.figures["sides"] == (side,) for one in comparisons if one.reason.code == "still_warming_up"
    )
    return {one.reason.code for one in comparisons}


@pytest.mark.parametrize("side", ["slow", "fast"])
@pytest.mark.parametrize("state", ["climbing", "unsettled"])
def test_one_round_of_a_block_cannot_show_level_what_conditioning_did_not(state, side):
    given = (*conditioned(state), *STEADY)
    assert judged_codes(ONE_EACH, ONE_EACH_FAST, given, side) == {"still_warming_up"}


def test_one_valid_round_of_several_shows_no_more():
    short = {0: SLOW[0], 1: SLOW[1][:1]}
    given = (*conditioned("steady"), *conditioned("unsettled", block=1))
    assert judged_codes(short, FAST, given) == {"still_warming_up"}
    assert judged_codes(SLOW, FAST, given) == {"beyond_margin"}, "two rounds that do not drift do"


def test_a_budget_that_ends_in_a_climb_leaves_no_verdict_however_many_rounds_there_are():
    assert judged_codes(SLOW, FAST, (*conditioned("climbing"), *STEADY)) == {"still_warming_up"}
    # Conditioned further, it has levelled; or the other way round, in the same block.
    assert judged_codes(SLOW, FAST, (*conditioned("climbing", "steady"), *STEADY)) == {"beyond_margin"}
    assert judged_codes(SLOW, FAST, (*conditioned("steady", "climbing"), *STEADY)) == {"still_warming_up"}


def test_a_server_that_was_shown_steady_or_never_conditioned_is_judged_by_single_rounds():
    assert judged_codes(ONE_EACH, ONE_EACH_FAST, (*conditioned("steady"), *STEADY)) == {"beyond_margin"}
    assert judged_codes(ONE_EACH, ONE_EACH_FAST, ()) == {"beyond_margin"}


def test_a_drift_of_a_block_without_a_round_that_counts_says_nothing_of_the_others():
    targets = {
        "slow": target(SLOW),
        "fast": target(FAST),
        "slow-control": target(SLOW, "slow"),
        "fast-control": target(FAST, "fast"),
    }
    drift = DriftRecord(block=2, load="closed:8", change=0.5, resolved=False)
    targets["slow"] = targets["slow"].model_copy(update={"drifts": (drift,)})
    _, comparisons = judge(targets, margin=0.05, seed=1)
    assert {one.reason.code for one in comparisons} == {"beyond_margin"}


def test_a_block_without_a_round_that_counts_says_nothing_of_those_that_have_some():
    """As when a run is interrupted while the servers of its last block are conditioned."""
    given = (*conditioned("steady"), *STEADY, *conditioned("climbing", block=2))
    assert judged_codes(SLOW, FAST, given) == {"beyond_margin"}


def stolen(values, shares, control_of=None):
    """A side whose rounds lost these shares of a core to the host, block by block."""
    record = target(values, control_of)
    flat = [share for block in values for share in shares[block]]
    lost = [
        one.model_copy(update={"cpu_steal_share": share})
        for one, share in zip(record.rounds, flat, strict=True)
    ]
    return record.model_copy(update={"rounds": tuple(lost)})


def test_p99_is_compared_in_rounds_that_the_host_left_alone():
    """1 % of the time is all that p99 looks at. Seen: 10.8 ms, and 15 ms with 3 % stolen."""
    values = {0: (10.8, 15.0, 11.0), 1: (11.1, 16.2, 15.5)}
    shares = {0: (0.003, 0.03, 0.0), 1: (0.01, 0.045, 0.02)}
    ours, theirs = stolen(values, shares), target({0: (10.8,) * 3, 1: (10.8,) * 3})
    p99 = pair_rounds(ours, theirs, LOAD, "p99")
    assert p99.ratios == pytest.approx([10.8 / 10.8, 11.0 / 10.8, 11.1 / 10.8])
    assert pair_rounds(theirs, ours, LOAD, "p99").ratios == pytest.approx([1 / one for one in p99.ratios])
    assert pair_rounds(ours, theirs, LOAD, "p50").count == 6
    assert list(by_place(ours, LOAD, "p99")) == [(0, 0), (0, 2), (1, 0)]


def test_a_block_that_was_never_left_alone_still_counts():
    values = {0: (10.8, 11.0), 1: (15.0, 16.0)}
    ours = stolen(values, {0: (0.0, 0.0), 1: (0.03, 0.02)})
    assert pair_rounds(ours, target({0: (10.0,) * 2, 1: (10.0,) * 2}), LOAD, "p99").count == 4


def test_of_two_attempts_the_one_that_was_left_alone_counts_whichever_came_first():
    once = stolen({0: (15.0,)}, {0: (0.03,)}).rounds
    again = stolen({0: (10.8,)}, {0: (0.0,)}).rounds
    for attempts in (once + again, again + once):
        both = target({}).model_copy(update={"rounds": attempts})
        assert by_place(both, LOAD, "p99") == {(0, 0): pytest.approx(10.8)}

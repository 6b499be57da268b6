"""Which noise floor a pair is judged against, from rounds whose figures are given."""

import math

import pytest

from pipelines import record as r
from pipelines.judging import judge


def latency(value):
    return r.LatencyRecord(p50=value, p90=value, p95=value, p99=value, min=1, max=1, mean=1, reasons={})


def rounds(values):
    """Valid rounds of one load; `values` by block."""
    return tuple(
        r.RoundRecord.model_construct(
            block=block,
            repetition=repetition,
            load="closed:8",
            valid=True,
            latency_ms=latency(value),
            throughput_per_s=1000 / value,
        )
        for block, own in values.items()
        for repetition, value in enumerate(own)
    )


def target(values, control_of=None):
    role = "control" if control_of else "compared"
    return r.TargetRecord.model_construct(role=role, control_of=control_of, rounds=rounds(values))


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


@pytest.mark.parametrize("only", ["slow", "fast", None])
def test_a_side_without_a_usable_control_is_named_and_nothing_is_called(only):
    targets = {"slow": target(SLOW), "fast": target(FAST)}
    if only:
        targets[f"{only}-control"] = target({"slow": SLOW, "fast": FAST}[only], control_of=only)
    # One pair of rounds gives no interval, so this control is there and is of no use.
    other = "fast" if only == "slow" else "slow"
    targets[f"{other}-control"] = target({0: (1.0,)}, control_of=other)
    _, found = floors(targets)
    assert math.isclose(found.ratio, 2, rel_tol=0.05)
    assert (found.verdict, found.noise_floor, found.rounds_needed) == ("inconclusive", None, None)
    assert other in found.reason.partition("no control of")[2]


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

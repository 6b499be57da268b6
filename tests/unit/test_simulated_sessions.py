"""From conditioning through blocks to verdicts with the profiles' own numbers; the seconds are simulated."""

import math
from types import SimpleNamespace

import pytest
import simulated_load
from simulated_load import session

from pipelines.config.profiles import PROFILES, Profile
from pipelines.judge.summarise import summarise_round
from pipelines.judge.verdicts import judge
from pipelines.measure import blocks, level

QUICK = PROFILES["quick"]
THREE_TO_FOUR = QUICK.model_copy(update={"round_s": 3.0, "longest_round_s": 4.0})
FAST_PER_S, SLOW_PER_S = 600.0, 300.0
DOUBLES_AFTER_S = 20.0
CLIMB_PER_S = 0.03


def doubling(load_s: float) -> float:
    return SLOW_PER_S if load_s < DOUBLES_AFTER_S else FAST_PER_S


def steady(_load_s: float) -> float:
    return FAST_PER_S


def climbing(load_s: float) -> float:
    """Three per cent faster every second: it is never done."""
    return 100.0 * math.exp(CLIMB_PER_S * load_s)


@pytest.fixture
def measure(monkeypatch, tmp_path):
    """Measure all blocks of sides with these speeds; the session, and what is judged of it."""
    monkeypatch.setattr(
        blocks.readiness,
        "wait_until_right",
        lambda *_: SimpleNamespace(as_record=lambda _block: None),
    )

    def run(profile: Profile, speeds, warmup_s=1.0, **waves):
        made = session(profile, speeds, tmp_path, warmup_s, waves)
        blocks.measure_blocks(made)
        targets = simulated_load.targets(made, summarise_round)
        return made, targets, judge(targets, margin=0.05, seed=3)[1]

    return run


@pytest.mark.slow
@pytest.mark.parametrize("warmup_s", [0.75, 1.5])
def test_quick_never_compares_a_server_before_it_doubled_its_speed_after_twenty_seconds(measure, warmup_s):
    made, targets, comparisons = measure(QUICK, {"doubling": doubling, "level": steady}, warmup_s)
    loaded_s = {
        name: [
            made.generator.windows[one.samples_file.rpartition("/")[2]] for one in target.rounds if one.valid
        ]
        for name, target in targets.items()
    }
    # A window that opened earlier would have been compared at half of the speed, in part or wholly.
    assert min(loaded_s["doubling"]) >= DOUBLES_AFTER_S
    for name, target in targets.items():
        blocks_count = len({one.block for one in target.conditionings})
        assert len(loaded_s[name]) == QUICK.rounds * blocks_count, "nothing is lost by it"
        assert not any(drift.climbs for drift in target.drifts if not drift.resolved)
    assert [drift.resolved for drift in targets["doubling"].drifts] == [True] * QUICK.blocks
    assert targets["level"].drifts == ()
    assert {one.verdict for one in comparisons if one.metric in ("p50", "throughput_per_s")} == {"equivalent"}


def test_quick_conditions_a_steady_server_for_twelve_seconds_at_most(measure):
    _, targets, comparisons = measure(QUICK, {"a": steady, "b": steady})
    for target in targets.values():
        for one in target.conditionings:
            assert (one.state, one.until_steady_s) == ("steady", 0)
            assert 10 <= one.duration_s <= 12
    assert {one.verdict for one in comparisons} == {"equivalent"}


@pytest.mark.slow
def test_a_server_that_is_never_done_is_conditioned_for_the_budget_and_compared_by_nothing(measure):
    profile = QUICK.model_copy(update={"rounds": 1})
    _, targets, comparisons = measure(profile, {"climbing": climbing, "level": steady})
    for one in targets["climbing"].conditionings:
        assert one.state == "climbing"
        assert one.duration_s == pytest.approx(QUICK.conditioning_limit_s, abs=1)
    assert {(one.verdict, one.reason.code) for one in comparisons} == {("inconclusive", "still_warming_up")}
    assert all(one.reason.figures["sides"] == ("climbing",) for one in comparisons)


@pytest.mark.parametrize(
    ("needed_s", "round_s"),
    [([None, 1.0], 3.0), ([3.5, None], 3.5), ([3.5, 3.9], 3.9), ([40.0], 4.0), ([None], 3.0), ([], 3.0)],
)
def test_rounds_grow_with_the_side_that_wanders_most_up_to_the_profiles_limit(tmp_path, needed_s, round_s):
    made = session(THREE_TO_FOUR, {"a": steady}, tmp_path)
    level._adapt_round_length(made, needed_s)
    assert made.round_s == pytest.approx(round_s)
    level._adapt_round_length(made, [None])
    assert made.round_s == pytest.approx(round_s), "they do not shrink again"


def test_a_length_that_was_asked_for_stays(tmp_path):
    asked = QUICK.model_copy(update={"round_s": 2.0, "longest_round_s": None})
    made = session(asked, {"a": steady}, tmp_path)
    level._adapt_round_length(made, [30.0])
    assert made.round_s == 2.0


def convoys(height):
    """Latencies in waves of four seconds, under a throughput that does not move."""
    return lambda load_s: 1 + (height if load_s % 4 < 2 else -height)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("height", "least_s", "most_s"), [(0.02, 3, 3), (0.11, 3.1, 3.9), (0.3, 4, 4)], ids=str
)
def test_rounds_are_as_long_as_the_conditioned_servers_p50_wanders(measure, height, least_s, most_s):
    """By theory some 0.25 s · height² · 4 / 0.05²: slices of a quarter of a second go together by fours."""
    _, targets, _ = measure(THREE_TO_FOUR, {"wandering": steady, "level": steady}, wandering=convoys(height))
    (window_s,) = {one.window_s for target in targets.values() for one in target.rounds}
    assert least_s <= window_s <= most_s


@pytest.mark.slow
def test_a_climb_is_no_wandering(measure):
    def warming(load_s: float) -> float:
        return FAST_PER_S - 400 * math.exp(-load_s / 3)

    _, targets, _ = measure(QUICK, {"warming": warming, "level": steady})
    assert targets["warming"].conditionings[0].until_steady_s > 0
    assert {one.window_s for target in targets.values() for one in target.rounds} == {QUICK.round_s}

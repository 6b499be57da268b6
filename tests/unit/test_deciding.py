"""`compare --decide-within`: when blocks end, what is kept of the looks, and what is refused."""

from types import SimpleNamespace

import pytest
from gate_fixture import gated_run

from loadtests.sequential import ASSUMED_FLOOR, Look
from pipelines.compare import looks
from pipelines.config.asked import MOST_BLOCKS, run_settings
from pipelines.config.profiles import PROFILES
from pipelines.errors import RequestError
from pipelines.judge.verdicts import judge
from pipelines.measure.sides import Side, controls
from pipelines.record.sequential import LookRecord, SequentialRecord
from pipelines.report.sentences import sentence


def settings(**changes):
    return run_settings(profile="quick", sides="torchserve,tfserving", model="digits_cnn", **changes)


def test_a_profile_becomes_open_ended_and_its_controls_take_turns_between_two_sides():
    made = settings(decide_within="20min")
    assert made.decide_within_s == 1200
    assert made.profile.blocks == MOST_BLOCKS
    assert made.profile.control_blocks == "in turn"
    three = run_settings(
        profile="quick", sides="torchserve,tfserving,python", model="digits_cnn", decide_within="20min"
    )
    assert three.profile.control_blocks == "all first"
    assert settings().decide_within_s is None
    assert settings().profile == PROFILES["quick"]


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("20min", 1200), ("20m", 1200), ("1.5 h", 5400)])
def test_durations(text, seconds):
    assert settings(decide_within=text).decide_within_s == seconds


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"decide_within": "20"}, "such as 20min"),
        ({"decide_within": "soon"}, "such as 20min"),
        ({"decide_within": "5s"}, "from 1min"),
        ({"decide_within": "25h"}, "to 24h"),
        ({"decide_within": "20min", "blocks": 3}, "leave --blocks out"),
    ],
)
def test_what_is_refused(changes, said):
    with pytest.raises(RequestError, match=said):
        settings(**changes)
    with pytest.raises(RequestError, match="smoke gives none"):
        run_settings(profile="smoke", sides="torchserve", model="digits_cnn", decide_within="20min")


@pytest.mark.parametrize(
    ("how", "names", "expected"),
    [
        ("in turn", "AB", ["A", "B", "A", "B"]),
        ("all first", "ABC", ["ABC", "B", "C", "A"]),
    ],
)
def test_controls_take_turns_and_those_of_many_sides_come_first(how, names, expected):
    profile = settings(decide_within="20min").profile.model_copy(update={"control_blocks": how})
    sides = [Side(name, name, "compared", None, prepare=None, pool=None, prove=None) for name in names]
    made = controls(sides, profile)
    taking_part = ["".join(one.control_of for one in made if one.takes_part(block)) for block in range(4)]
    assert taking_part == expected


@pytest.fixture
def measuring(monkeypatch):
    """A run whose blocks take 100 s each, and whose verdicts are told beforehand."""

    def make(limit_s: float, words: list[str]):
        seconds = iter(range(0, 10_000, 100))
        verdicts, allowed = iter(words), []
        monkeypatch.setattr(looks, "summarise", lambda *_: next(verdicts))
        monkeypatch.setattr(looks, "is_decided", lambda word: word != "inconclusive")
        run = SimpleNamespace(
            looks=[],
            warnings=[],
            folder=None,
            settings=SimpleNamespace(profile=SimpleNamespace(blocks=200)),
            session=SimpleNamespace(say=lambda _: None, allow_retries=lambda: allowed.append(True)),
            allowed=allowed,
            record=lambda *_: None,
            save=lambda: None,
        )
        return run, looks.Deciding(run, limit_s, clock=lambda: float(next(seconds)))

    return make


def blocks_until_enough(made) -> int:
    return next(count for count in range(1, 100) if made.enough(count))


def test_it_ends_when_it_is_decided(measuring):
    run, made = measuring(1000.0, ["inconclusive", "worse"])
    assert blocks_until_enough(made) == 2
    assert [(look.blocks_count, look.time_share, look.decided) for look in run.looks] == [
        (1, 0.1, False),
        (2, 0.2, True),
    ]
    assert "after 2 blocks and 200 s of 1000 s allowed" in sentence(run.warnings[0])


def test_every_further_block_may_measure_invalid_rounds_again(measuring):
    run, made = measuring(1000.0, ["inconclusive", "worse"])
    assert not made.enough(1)
    assert run.allowed == [True]


def test_it_ends_before_its_time_would_be_exceeded_and_spends_the_rest(measuring):
    run, made = measuring(450.0, ["inconclusive"] * 10)
    assert blocks_until_enough(made) == 4
    assert [look.time_share for look in run.looks] == [100 / 450, 200 / 450, 300 / 450, 1.0]
    assert "give more time with --decide-within" in sentence(run.warnings[0])


def test_a_first_block_longer_than_the_time_is_the_only_look(measuring):
    run, made = measuring(60.0, ["inconclusive"])
    assert blocks_until_enough(made) == 1
    assert run.looks[0].time_share == 1.0


def test_what_else_was_asked_ends_it_and_is_named(measuring):
    run, made = measuring(1000.0, ["worse", "worse"])
    words = iter([False, True])
    made.decided, made.asked = (lambda _: next(words)), "gate"
    assert blocks_until_enough(made) == 2
    assert [look.decided for look in run.looks] == [False, True]
    assert {look.asked for look in run.looks} == {"gate"}
    (warning,) = run.warnings
    assert warning.code == "gate_decided"
    assert (warning.figures["blocks_count"], warning.figures["elapsed_s"]) == (2, 200)
    assert "primary metric" not in sentence(warning)


def test_what_else_was_asked_may_be_undecided_when_the_time_is_up(measuring):
    run, made = measuring(60.0, ["inconclusive"])
    made.decided, made.asked = (lambda _: False), "gate"
    assert blocks_until_enough(made) == 1
    (warning,) = run.warnings
    assert warning.code == "gate_time_up"
    assert "more time with --decide-within" in sentence(warning)


def looked(run, *shares: float):
    looks = tuple(
        LookRecord(blocks_count=place + 1, elapsed_s=1.0, time_share=share, decided=False)
        for place, share in enumerate(shares)
    )
    return run.model_copy(update={"sequential": SequentialRecord(decide_within_s=600, looks=looks)})


def test_verdicts_of_a_looked_at_run_are_wider_and_still_decide_what_is_clear():
    from pipelines.judge.summarise import looks_of

    run = gated_run({"new": 2.0, "base": 1.0})
    looks = looks_of(looked(run, 0.3, 0.6, 1.0))
    _, plain = judge(run.targets, margin=0.05, seed=1)
    _, wide = judge(run.targets, margin=0.05, seed=1, looks=looks)
    p99 = [next(one for one in found if one.is_primary) for found in (plain, wide)]
    assert p99[0].verdict == p99[1].verdict == "worse"
    assert p99[1].interval[0] < p99[0].interval[0] < p99[0].interval[1] < p99[1].interval[1]


FIRST = (Look(1, 0.2),)


def judged_first_block(factor, *, without, noise=0.01, looks=FIRST):
    """A first block in which the sides `without` have no control: its controls by side, and p99's verdict."""
    targets = dict(gated_run({"new": factor, "base": 1.0}, blocks=1, rounds=3, noise=noise).targets)
    for side in without:
        del targets[f"{side}-control"]
    controls, comparisons = judge(targets, margin=0.05, seed=1, looks=looks)
    primary = next(one for one in comparisons if one.is_primary)
    return {one.target: one for one in controls if one.metric == primary.metric}, primary


def test_a_first_block_with_one_control_assumes_the_other_sides_floor_and_says_so():
    controls, found = judged_first_block(2.0, without=["base"])
    assert found.verdict == "worse"
    assert found.noise_floor == ASSUMED_FLOOR == pytest.approx(0.217, abs=0.001)
    assert (controls["new"].assumed, controls["new"].pairs_count) == (False, 3)
    assumed = controls["base"]
    assert assumed.assumed
    assert (assumed.ratio, assumed.interval, assumed.pairs_count) == (None, None, 0)
    # With both measured it would be called as well, and no floor of a quiet block is as large.
    both, called = judged_first_block(2.0, without=[])
    assert called.verdict == "worse"
    assert not any(one.assumed for one in both.values())
    assert called.noise_floor < ASSUMED_FLOOR


def test_the_larger_floor_counts_where_a_measured_one_is_beyond_the_assumed():
    controls, found = judged_first_block(1.3, without=["base"], noise=0.2)
    assert found.noise_floor == controls["new"].noise_floor > ASSUMED_FLOOR
    assert found.verdict == "inconclusive"


@pytest.mark.parametrize(
    ("without", "looks"),
    [
        (["new", "base"], (Look(1, 0.2),)),  # nothing says what this machine shows
        (["base"], (Look(1, 0.2), Look(2, 0.4))),  # it had its turn
        (["base"], ()),  # as many blocks as were asked for
    ],
)
def test_no_floor_is_assumed_otherwise(without, looks):
    controls, found = judged_first_block(2.0, without=without, looks=looks)
    assert [side for side, one in controls.items() if one.assumed] == []
    assert (found.verdict, found.reason.code, found.noise_floor) == ("inconclusive", "no_floor", None)


def test_rounds_of_a_block_that_nobody_looked_at_feed_no_verdict():
    from pipelines.judge.summarise import _looked_at

    run = looked(gated_run({"new": 2.0, "base": 1.0}, blocks=3), 0.3, 0.6)
    judged = _looked_at(run.targets, run.sequential)
    assert {record.block for target in judged.values() for record in target.rounds} == {0, 1}
    assert judged.keys() == run.targets.keys()
    assert _looked_at(run.targets, None) == run.targets


def test_a_gate_on_such_a_run_takes_its_looks_into_account(tmp_path):
    from pipelines.gate.limits import METRICS, Limit
    from pipelines.gate.stage import GateRequest, gate

    widths = []
    run = gated_run({"new": 1.0, "base": 1.0})
    for place, made in enumerate((run, looked(run, 0.3, 0.6, 1.0))):
        folder = tmp_path / str(place)
        folder.mkdir()
        (folder / "run.json").write_text(made.model_dump_json())
        found = gate(GateRequest(folder, None, (Limit(METRICS["p99"], 0.05),)))
        low, high = found.findings[-1].interval
        widths.append(high / low)
    assert widths[1] > widths[0]


def stored_width(tmp_path, *runs) -> float:
    """How wide the gate's interval of p99 is, of two stored runs."""
    from pipelines.gate.limits import METRICS, Limit
    from pipelines.gate.stage import GateRequest, gate

    folders = []
    for place, run in enumerate(runs):
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        (folder / "run.json").write_text(run.model_copy(update={"run_id": str(place)}).model_dump_json())
        folders.append(folder)
    low, high = gate(GateRequest(*folders, (Limit(METRICS["p99"], 0.05),))).findings[-1].interval
    return high / low


def test_a_gate_on_stored_runs_takes_the_looks_of_both_into_account(tmp_path):
    fixed = [gated_run({"torchserve": 1.0}, seed=seed) for seed in (1, 2)]
    looks = [looked(run, 0.3, 0.6, 1.0) for run in fixed]
    plain = stored_width(tmp_path, *fixed)
    of_baseline = stored_width(tmp_path, looks[0], fixed[1])
    of_candidate = stored_width(tmp_path, fixed[0], looks[1])
    of_both = stored_width(tmp_path, *looks)
    assert plain * 1.001 < of_baseline
    assert of_baseline == pytest.approx(of_candidate)
    assert of_candidate * 1.001 < of_both


@pytest.mark.slow
def test_whatever_made_two_stored_runs_end_the_truth_is_left_out_in_at_most_five_per_cent():
    """Of pairs of looks the one that is worst is taken, which no rule could know."""
    import numpy as np

    from loadtests.intervals import RatioEstimate
    from loadtests.sequential import Look
    from pipelines.gate.measured import stopped

    chance, runs, most = np.random.default_rng(7), 4000, 4
    means = np.cumsum(chance.normal(size=(2, runs, most)), axis=2) / np.arange(1, most + 1)
    outside = np.zeros(runs, dtype=bool)
    for ours in range(1, most + 1):
        for theirs in range(1, most + 1):
            error = (1 / ours + 1 / theirs) ** 0.5
            looks = [
                tuple(Look(blocks, blocks / most) for blocks in range(1, last + 1)) for last in (ours, theirs)
            ]
            # Enough blocks of a known error, so that what is counted is the looks alone.
            estimate = RatioEstimate(0.0, np.array([-1.0, 1.0]), error, 1e6, 9, 9)
            reach = np.log(stopped(estimate, looks).interval().high)
            outside |= np.abs(means[0, :, ours - 1] - means[1, :, theirs - 1]) > reach
    assert 0.01 < outside.mean() <= 0.05

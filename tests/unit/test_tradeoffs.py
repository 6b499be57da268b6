"""What speed costs: medians over fresh servers, ratios of servers of one block, and who is better."""

import math
import random
from typing import Any

import pytest
from report_fixture import bare_target
from report_parts import parity

from loadtests.sequential import Look, look_confidence
from pipelines.judge.accuracy import more_right, ratio_interval_of
from pipelines.judge.tradeoffs import judge_trade_offs
from pipelines.record.conditioning import ConditioningRecord
from pipelines.record.implementation import ImageRecord
from pipelines.record.target import BlockPeakRecord, ColdStartRecord, MemoryRecord, TargetRecord
from pipelines.record.tradeoff import TradeOffRecord


def conditioning(block: int, until_s: float | None, state: str) -> ConditioningRecord:
    return ConditioningRecord(
        block=block,
        load="closed:8",
        samples_file="samples/c.parquet",
        state=state if until_s is None else "steady",
        until_steady_s=until_s,
        until_steady_requests_count=None if until_s is None else 10,
        duration_s=30.0,
        requests_count=100,
        errors_count=0,
        seconds=(),
    )


def side(
    name: str,
    peaks: tuple[int, ...] = (100, 100),
    starts: tuple[float, ...] = (2.0, 2.0),
    steady: tuple[float | None, ...] = (),
    image: int | None = None,
    unsteady: str = "climbing",
    **changes: Any,
) -> TargetRecord:
    one = bare_target(
        name,
        memory=MemoryRecord(
            idle_bytes=1,
            peak_bytes=max(peaks, default=None),
            source=changes.pop("source", "pss"),
            block_peaks=tuple(BlockPeakRecord(block=b, peak_bytes=p) for b, p in enumerate(peaks)),
        ),
        cold_starts=tuple(
            ColdStartRecord(block=b, ready_s=1.0, first_right_answer_s=s) for b, s in enumerate(starts)
        ),
        conditionings=tuple(conditioning(b, s, unsteady) for b, s in enumerate(steady)),
        **changes,
    )
    reference = image and ImageRecord(reference="r:1", id="sha256:1", size_bytes=image, compressed_bytes=None)
    made = one.implementation.model_copy(update={"image": reference})
    return one.model_copy(update={"implementation": made})


def judged(ours: TargetRecord, theirs: TargetRecord, **settings: Any) -> dict[str, TradeOffRecord]:
    found = judge_trade_offs(
        {"torchserve": ours, "tfserving": theirs}, **({"margin": 0.05, "seed": 1} | settings)
    )
    return {one.measure: one for one in found}


def test_a_clear_difference_of_fresh_servers_is_called_with_its_interval() -> None:
    ours, theirs = side("torchserve", (300, 303, 297)), side("tfserving", (100, 101, 99))
    one = judged(ours, theirs)["peak_memory_bytes"]
    assert (one.candidate_value, one.baseline_value, one.blocks_count) == (300, 100, 3)
    assert one.ratio == pytest.approx(3.0)
    assert one.verdict == "worse"
    assert one.interval is not None
    assert one.verdict_interval is not None
    assert one.verdict_interval[0] <= one.interval[0] <= one.ratio  # type: ignore[operator]
    assert one.ratio <= one.interval[1] <= one.verdict_interval[1]  # type: ignore[operator]


LOOKS = (Look(1, 0.2), Look(2, 0.4), Look(3, 0.6))


def test_a_run_that_ended_at_a_look_has_the_intervals_of_its_looks() -> None:
    """Servers are looked at as often as rounds are: a plain interval of 95 % would be too narrow."""
    sides = side("torchserve", (300, 330, 270)), side("tfserving", (100, 101, 99))
    plain, looked = judged(*sides)["peak_memory_bytes"], judged(*sides, looks=LOOKS)["peak_memory_bytes"]
    assert look_confidence(LOOKS, 0.95) > 0.96
    for narrow, wide in (
        (plain.interval, looked.interval),
        (plain.verdict_interval, looked.verdict_interval),
    ):
        assert narrow is not None
        assert wide is not None
        assert wide[0] < narrow[0] < narrow[1] < wide[1]
    assert plain.ratio == looked.ratio


def test_servers_of_a_block_that_nobody_looked_at_do_not_count() -> None:
    """As when a run is interrupted in its third block, whose server was ten times as large."""
    two = (
        side("torchserve", (300, 303), (1.0, 1.1), (9.0, 9.0)),
        side("tfserving", (100, 101), (1.0, 1.0), (4.0, 4.0)),
    )
    three = (
        side("torchserve", (300, 303, 3000), (1.0, 1.1, 11.0), (9.0, 9.0, None)),
        side("tfserving", (100, 101, 99), (1.0, 1.0, 1.0), (4.0, 4.0, 4.0)),
    )
    assert judged(*three, looks=LOOKS[:2]) == judged(*two, looks=LOOKS[:2])
    assert judged(*three)["peak_memory_bytes"].candidate_value == 303


def test_swapping_the_sides_mirrors_the_verdict() -> None:
    a, b = side("torchserve", starts=(1.0, 1.01, 0.99)), side("tfserving", starts=(4.0, 4.1, 3.9))
    there, back = judged(a, b)["cold_start_s"], judged(b, a)["cold_start_s"]
    assert (there.verdict, back.verdict) == ("better", "worse")
    assert there.ratio == pytest.approx(1 / back.ratio)  # type: ignore[operator]


def test_one_fresh_server_gives_a_ratio_and_no_verdict() -> None:
    one = judged(side("torchserve", (200,)), side("tfserving", (100,)))["peak_memory_bytes"]
    assert (one.ratio, one.interval, one.verdict, one.blocks_count) == (pytest.approx(2.0), None, None, 1)


def test_memory_counted_in_two_ways_is_not_compared() -> None:
    one = judged(side("torchserve", source="cgroup"), side("tfserving"))["peak_memory_bytes"]
    assert (one.candidate_value, one.ratio, one.verdict) == (100, None, None)


def test_an_older_record_without_peaks_by_block_has_the_value_alone() -> None:
    old = side("torchserve").model_copy(update={"memory": MemoryRecord(idle_bytes=1, peak_bytes=7)})
    one = judged(old, side("tfserving"))["peak_memory_bytes"]
    assert (one.candidate_value, one.ratio) == (7, None)


def test_a_server_that_is_steady_at_once_counts_as_one_second() -> None:
    one = judged(side("torchserve", steady=(16.0, 16.0)), side("tfserving", steady=(0.0, 0.0)))
    assert one["until_steady_s"].ratio == pytest.approx(16.0)
    assert one["until_steady_s"].baseline_value == 0.0


def until_steady(ours: TargetRecord, theirs: TargetRecord) -> TradeOffRecord:
    return judged(ours, theirs)["until_steady_s"]


def test_a_time_known_to_a_second_has_an_interval_at_least_that_wide() -> None:
    """Of 1 s against 2 s in every block nothing is known but that one is not much longer."""
    found = until_steady(side("torchserve", steady=(1.0,) * 3), side("tfserving", steady=(2.0,) * 3))
    assert found.interval == (pytest.approx(0.25), pytest.approx(1.0))
    assert found.verdict_interval == (pytest.approx(0.25), pytest.approx(1.0))
    assert found.verdict == "inconclusive"
    far = until_steady(side("torchserve", steady=(10.0,) * 3), side("tfserving", steady=(20.0,) * 3))
    assert far.interval == (pytest.approx(0.5 / 1.1), pytest.approx(0.5 * 1.1))
    assert far.verdict == "better"


def test_a_bound_within_a_second_of_the_other_side_decides_nothing() -> None:
    """Both ended at about 2 s, one of them because its budget did."""
    late = side("torchserve", steady=(None,) * 3)
    budget_s = late.conditionings[0].duration_s
    near, far = budget_s / 1.06, budget_s / 1.2
    assert until_steady(late, side("tfserving", steady=(near,) * 3)).verdict == "inconclusive"
    assert until_steady(late, side("tfserving", steady=(far,) * 3)).verdict == "worse"


def test_a_server_that_still_climbed_at_the_end_of_its_budget_counts_against_its_side() -> None:
    """Left out, a side that needed 4 s once and over 30 s twice would beat one that always needs 5 s."""
    slow, quick = side("torchserve", steady=(4.0, None, None)), side("tfserving", steady=(5.0, 5.0, 5.0))
    found = until_steady(slow, quick)
    assert (found.candidate_value, found.baseline_value) == (None, 5.0)
    assert (found.ratio, found.interval, found.verdict_interval) == (None, None, None)
    assert found.verdict == "inconclusive"
    always = until_steady(side("torchserve", steady=(None,) * 3), quick)
    assert (always.verdict, always.ratio, always.blocks_count) == ("worse", None, 3)
    assert until_steady(quick, side("torchserve", steady=(None,) * 3)).verdict == "better"


def test_a_bound_decides_only_in_its_direction() -> None:
    """Of 10 s against more than 30 s it may be said who is later, of 100 s against more than 30 s nothing."""
    late = side("torchserve", steady=(100.0, 100.0, 100.0))
    assert until_steady(late, side("tfserving", steady=(None,) * 3)).verdict == "inconclusive"
    assert until_steady(side("tfserving", steady=(None,) * 3), late).verdict == "inconclusive"


def test_most_of_the_servers_steady_is_a_median_and_no_ratio() -> None:
    found = until_steady(side("torchserve", steady=(4.0, None, 6.0)), side("tfserving", steady=(1.0,) * 3))
    assert (found.candidate_value, found.ratio, found.interval) == (6.0, None, None)


def test_servers_of_both_sides_or_of_unknown_state_that_never_were_steady_decide_nothing() -> None:
    both = until_steady(side("torchserve", steady=(None, 9.0)), side("tfserving", steady=(1.0, None)))
    unknown = until_steady(
        side("torchserve", steady=(None, None), unsteady="unsettled"), side("tfserving", steady=(1.0, 1.0))
    )
    assert (both.ratio, both.verdict) == (unknown.ratio, unknown.verdict) == (None, None)


@pytest.mark.parametrize(
    ("ours", "theirs", "verdict"),
    [(100, 200, "better"), (200, 100, "worse"), (101, 100, "equivalent"), (None, 100, None)],
)
def test_images_are_exact(ours: int | None, theirs: int, verdict: str | None) -> None:
    found = judged(side("torchserve", image=ours), side("tfserving", image=theirs))
    assert found["image_bytes"].verdict == verdict


@pytest.mark.parametrize(
    ("right", "agreement", "verdict"),
    [(0.99, 1.0, "equivalent"), (0.985, 0.995, "inconclusive"), (0.9, 0.91, "worse")],
)
def test_accuracy_is_called_only_beyond_chance(right: float, agreement: float, verdict: str) -> None:
    ours = parity("rest", samples_count=1000, accuracy=right, top1_agreement=agreement)
    theirs = parity("rest", samples_count=1000, accuracy=0.99, top1_agreement=1.0)
    found = judged(side("torchserve", endpoint_parity=ours), side("tfserving", endpoint_parity=theirs))
    assert found["accuracy"].verdict == verdict


def accuracy_of(*changes: dict[str, Any]) -> TradeOffRecord:
    sides = [
        side(name, endpoint_parity=parity("rest", **({"accuracy": 0.99, "top1_agreement": 1.0} | own)))
        for name, own in zip(("torchserve", "tfserving"), changes, strict=True)
    ]
    return judged(*sides)["accuracy"]


@pytest.mark.parametrize(
    ("samples_count", "agreement", "verdict"),
    [
        (1000, 1.0, "equivalent"),
        (20, 1.0, "inconclusive"),
        (1000, 0.9, "equivalent"),
        (300, 0.8, "inconclusive"),
    ],
)
def test_as_many_right_are_even_only_where_the_interval_lies_within_the_margin(
    samples_count: int, agreement: float, verdict: str
) -> None:
    found = accuracy_of(
        {"samples_count": samples_count}, {"samples_count": samples_count, "top1_agreement": agreement}
    )
    assert found.ratio == 1
    assert found.interval is not None
    assert found.verdict == verdict
    assert (1 / 1.05 <= found.interval[0] <= found.interval[1] <= 1.05) == (verdict == "equivalent")


@pytest.mark.parametrize("nested", [True, False])
def test_shares_of_labelled_positions_are_no_counts_of_samples(nested: bool) -> None:
    """A sample has many positions; a sign test over samples knows nothing of them."""
    tokens = {"task": "tokens", "samples_count": 1000}
    own = (
        {"outputs": (parity("rest", accuracy=None, task="none"), parity("rest", **tokens))}
        if nested
        else tokens
    )
    found = accuracy_of({**own, "samples_count": 1000, "accuracy": 0.5}, {**own, "samples_count": 1000})
    assert found.ratio == pytest.approx(0.5 / 0.99)
    assert (found.interval, found.verdict) == (None, None)
    assert accuracy_of({"task": "classes", "accuracy": 0.5}, {"task": "classes"}).verdict == "worse"


def test_sides_differ_in_no_more_samples_than_there_are() -> None:
    """Each differs from the source model in all of 20 samples; together that is still not 40."""
    assert more_right(11, 40, 20) == more_right(11, 20, 20) == "better"
    low, high = ratio_interval_of(0.4, 11, 40, 20)
    assert low > 1
    assert high > low


def test_accuracy_has_an_interval_that_agrees_with_its_verdict() -> None:
    theirs = parity("rest", samples_count=1000, accuracy=0.99, top1_agreement=1.0)
    for right, agreement in ((0.99, 1.0), (0.985, 0.995), (0.984, 0.994), (0.9, 0.91)):
        ours = parity("rest", samples_count=1000, accuracy=right, top1_agreement=agreement)
        found = judged(side("torchserve", endpoint_parity=ours), side("tfserving", endpoint_parity=theirs))[
            "accuracy"
        ]
        assert found.ratio == pytest.approx(right / 0.99)
        assert found.interval is not None
        low, high = found.interval
        assert low < found.ratio < high
        assert (not low <= 1 <= high) == (found.verdict in ("better", "worse"))


@pytest.mark.parametrize(("gained", "lost"), [(0.0, 0.0), (0.02, 0.0), (0.05, 0.04), (0.3, 0.1)])
def test_the_interval_of_accuracy_holds_the_true_ratio(gained: float, lost: float) -> None:
    """In 95 % of samples, less what chance does to 400 of them, however few the sides differ in."""
    chance, held, count, baseline = random.Random(5), 0, 300, 0.9  # noqa: S311
    for _ in range(400):
        drawn = [chance.random() for _ in range(count)]
        right, wrong = sum(x < gained for x in drawn), sum(gained <= x < gained + lost for x in drawn)
        low, high = ratio_interval_of(baseline, right - wrong, right + wrong, count)
        held += low <= 1 + (gained - lost) / baseline <= high
    assert held / 400 >= 0.93


def test_swapping_the_sides_mirrors_the_interval_of_accuracy() -> None:
    low, high = ratio_interval_of(1.0, 7, 20, 300)
    back = ratio_interval_of(1.0, -7, 20, 300)
    assert (2 - high, 2 - low) == pytest.approx(back)


def test_a_profile_without_verdicts_gives_none_of_measured_figures() -> None:
    found = judged(side("torchserve", (300, 303)), side("tfserving", (100, 101)), verdicts=False)
    assert found["peak_memory_bytes"].interval is not None
    assert found["peak_memory_bytes"].verdict is None


def test_controls_and_the_floor_are_not_compared() -> None:
    targets = {name: side(name) for name in ("torchserve", "tfserving-control", "null")}
    assert judge_trade_offs(targets, margin=0.05, seed=1) == ()


@pytest.mark.slow
def test_no_difference_is_hardly_ever_called_one() -> None:
    """Of three blocks with ten per cent of scatter: at most one run in twenty, in all measures together."""
    chance, false = random.Random(3), 0  # noqa: S311

    def drawn(count: int = 3) -> list[float]:
        return [math.exp(chance.gauss(0, 0.1)) for _ in range(count)]

    for _ in range(200):
        sides = [
            side(
                name,
                tuple(int(1e6 * x) for x in drawn()),
                tuple(4 * x for x in drawn()),
                tuple(20 * x for x in drawn()),
            )
            for name in ("torchserve", "tfserving")
        ]
        found = judged(*sides)
        false += any(one.verdict in ("better", "worse") for one in found.values())
    assert false / 200 <= 0.05

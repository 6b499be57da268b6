"""What speed costs: medians over fresh servers, ratios of servers of one block, and who is better."""

import math
import random
from typing import Any

import pytest
from report_fixture import bare_target
from report_parts import parity

from pipelines.judge.tradeoffs import judge_trade_offs
from pipelines.record.conditioning import ConditioningRecord
from pipelines.record.implementation import ImageRecord
from pipelines.record.target import BlockPeakRecord, ColdStartRecord, MemoryRecord, TargetRecord
from pipelines.record.tradeoff import TradeOffRecord


def conditioning(block: int, until_s: float | None) -> ConditioningRecord:
    return ConditioningRecord(
        block=block,
        load="closed:8",
        samples_file="samples/c.parquet",
        state="unsettled" if until_s is None else "steady",
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
        conditionings=tuple(conditioning(b, s) for b, s in enumerate(steady)),
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


def test_a_server_that_was_never_steady_has_no_time() -> None:
    one = judged(side("torchserve", steady=(None, None)), side("tfserving", steady=(1.0, 1.0)))
    assert one["until_steady_s"].candidate_value is None
    assert one["until_steady_s"].verdict is None


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


def test_a_profile_without_verdicts_gives_none_of_measured_figures() -> None:
    found = judged(side("torchserve", (300, 303)), side("tfserving", (100, 101)), verdicts=False)
    assert found["peak_memory_bytes"].interval is not None
    assert found["peak_memory_bytes"].verdict is None


def test_controls_and_the_floor_are_not_compared() -> None:
    targets = {name: side(name) for name in ("torchserve", "tfserving-control", "null")}
    assert judge_trade_offs(targets, margin=0.05, seed=1) == ()


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

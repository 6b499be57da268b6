"""A round stretch by stretch: nothing is lost, pauses are seen, and a run of any length stays small."""

import numpy as np
import pytest

from pipelines.judge.timeline import RUN_SLICES, slice_round, slices_per_round

SECOND = 10**9


def test_every_request_is_in_one_stretch() -> None:
    chance = np.random.default_rng(1)
    ended = chance.integers(0, 10 * SECOND, 5_000)
    latency = chance.integers(1, SECOND, 5_000)
    found = slice_round(ended, latency, 10.0, 20)
    assert sum(one.requests_count for one in found) == 5_000
    assert [one.start_s for one in found] == pytest.approx([0.5 * n for n in range(20)])
    for one in found:
        inside = latency[(ended >= one.start_s * SECOND) & (ended < (one.start_s + 0.5) * SECOND)]
        assert one.p50_ms == pytest.approx(float(np.median(inside)) / 1e6)
        assert one.max_ms == pytest.approx(inside.max() / 1e6)


def test_a_pause_is_a_stretch_without_an_end_and_never_zero() -> None:
    ended = np.array([100, 200, 9 * SECOND])
    first, second, third = slice_round(ended, np.array([1, 2, 8 * SECOND]), 9.0, 3)
    assert (second.requests_count, second.p50_ms, second.max_ms) == (0, None, None)
    assert third.max_ms == 8_000
    assert first.requests_count == 2


def test_what_ends_after_the_window_is_in_the_last_stretch() -> None:
    found = slice_round(np.array([5 * SECOND]), np.array([5 * SECOND]), 1.0, 4)
    assert [one.requests_count for one in found] == [0, 0, 0, 1]


@pytest.mark.parametrize(("rounds", "slices"), [(0, 20), (12, 20), (60, 10), (600, 1), (601, 0), (10**6, 0)])
def test_a_long_run_has_few_stretches(rounds: int, slices: int) -> None:
    assert slices_per_round(rounds) == slices
    assert slices * rounds <= RUN_SLICES


def test_a_round_without_requests_or_window_is_no_error() -> None:
    nothing = np.empty(0, np.int64)
    assert [one.requests_count for one in slice_round(nothing, nothing, 1.0, 2)] == [0, 0]
    assert slice_round(nothing, nothing, 0.0, 2) == ()

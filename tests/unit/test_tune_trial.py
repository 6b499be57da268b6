"""A trial's bracket on servers whose capacity is known, and how early it ends."""

import random

import pytest

from loadtests.rates import RateMeasurement
from pipelines.tune.rate_search import RESOLUTION, Bracket, bracket

LIMIT_MS = 20.0


def server(capacity_per_s: float, *, wander: float = 0.0, sends_up_to: float = 1e9, seed: int = 1):
    """A server that keeps the limit up to its capacity, which wanders from round to round."""
    chance = random.Random(seed)  # noqa: S311

    def measure(rate_per_s: float, phase: str) -> RateMeasurement:
        capacity = capacity_per_s * (1 + chance.uniform(-wander, wander))
        p99_ms = 5.0 if rate_per_s <= capacity else 60.0
        return RateMeasurement(rate_per_s, p99_ms, 0.0, delivered=rate_per_s <= sends_up_to)

    return measure


def tried(capacity_per_s: float, to_beat: float | None = None, **how: float) -> Bracket:
    return bracket(
        server(capacity_per_s, **how), p99_limit_ms=LIMIT_MS, start_rate_per_s=300, to_beat_per_s=to_beat
    )


@pytest.mark.parametrize("capacity", [37, 290, 301, 1234, 9876])
def test_without_anything_to_beat_the_rate_is_found_within_the_resolution(capacity):
    found = tried(capacity)
    assert found.outcome == "found"
    assert found.rate_per_s <= capacity <= found.rate_per_s * (1 + RESOLUTION)
    assert found.breaks_at_per_s > capacity


@pytest.mark.parametrize("capacity", [50, 300, 700, 790, 900, 999, 1000, 1090])
def test_what_cannot_win_is_measured_four_times_at_most(capacity):
    found = tried(capacity, to_beat=1000)
    assert found.outcome == "beaten"
    assert len(found.measurements) <= 4
    assert capacity < found.breaks_at_per_s <= 1000 * (1 + RESOLUTION) * 1.0001
    assert found.rate_per_s is None or found.rate_per_s <= capacity


def test_a_challenger_near_the_best_has_a_rate_to_show():
    assert tried(900, to_beat=1000).rate_per_s == pytest.approx(800)


@pytest.mark.parametrize("capacity", [1111, 1500, 4000])
def test_what_is_better_is_searched_to_its_end(capacity):
    found = tried(capacity, to_beat=1000)
    assert found.outcome == "found"
    assert found.rate_per_s > 1000
    assert found.rate_per_s <= capacity <= found.rate_per_s * (1 + RESOLUTION)


def test_a_generator_that_sends_no_more_gives_a_lower_bound():
    found = tried(5000, sends_up_to=800)
    assert found.outcome == "lower_bound"
    assert found.rate_per_s <= 800


def test_a_limit_that_no_rate_keeps():
    found = tried(1)
    assert (found.outcome, found.rate_per_s) == ("none", None)


def test_one_bad_round_beats_nobody():
    """A stall in the first round at the rate to beat: the second one decides."""
    honest, stalls = server(3000), iter([True])

    def measure(rate_per_s: float, phase: str) -> RateMeasurement:
        found = honest(rate_per_s, phase)
        if rate_per_s > 1000 and next(stalls, False):
            return RateMeasurement(rate_per_s, 900.0, 0.0)
        return found

    found = bracket(measure, p99_limit_ms=LIMIT_MS, start_rate_per_s=300, to_beat_per_s=1000)
    assert found.outcome == "found"
    assert found.rate_per_s > 2700


@pytest.mark.parametrize("seed", range(20))
def test_a_wandering_server_is_found_within_its_wandering(seed):
    found = tried(1000, wander=0.05, seed=seed)
    assert found.outcome == "found"
    assert 1000 * 0.95 / (1 + RESOLUTION) ** 2 <= found.rate_per_s <= 1050

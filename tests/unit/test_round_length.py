import numpy as np
import pytest

from loadtests.round_length import round_needed_s

S_NS = 1_000_000_000


def requests(log_p50_of_slice, per_slice=100):
    """Requests whose latencies in each quarter of a second have that median, in nanoseconds."""
    done, latency = [], []
    for number, log_p50 in enumerate(log_p50_of_slice):
        done.append(number * S_NS // 4 + np.arange(per_slice) * (S_NS // 4 // per_slice))
        latency.append(np.full(per_slice, np.exp(log_p50) * 1e6))
    return np.concatenate(done), np.concatenate(latency)


def wandering(spread, correlation, count=400, seed=1):
    source, value, values = np.random.default_rng(seed), 0.0, []
    for _ in range(count):
        value = correlation * value + spread * np.sqrt(1 - correlation**2) * source.standard_normal()
        values.append(value)
    return values


def test_a_level_p50_needs_no_long_round():
    assert round_needed_s(*requests([0.0] * 40)) == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize(("spread", "correlation"), [(0.10, 0.0), (0.10, 0.6), (0.15, 0.8)])
def test_it_grows_with_the_variance_and_the_correlation_as_theory_says(spread, correlation):
    # An AR(1) process: S = slice * variance * (1 + r) / (1 - r); the round needed is S / 0.05**2.
    expected_s = 0.25 * spread**2 * (1 + correlation) / (1 - correlation) / 0.05**2
    found_s = [round_needed_s(*requests(wandering(spread, correlation, seed=seed))) for seed in range(5)]
    assert np.median(found_s) == pytest.approx(expected_s, rel=0.35)


def test_too_little_to_tell():
    assert round_needed_s(np.empty(0), np.empty(0)) is None
    assert round_needed_s(*requests([0.0] * 10)) is None
    assert round_needed_s(*requests([0.0] * 40, per_slice=2)) is None

import numpy as np
import pytest

from loadtests.warmup import WarmUp

S = 10**9


def seconds_until_steady(done_s, latencies_ms, *, limit_s=60.0, rate_per_s=None):
    """Play requests to a warm-up; return when it was over and whether it was steady."""
    warm_up = WarmUp(0, round(limit_s * S), rate_per_s)
    for number, (done, latency_ms) in enumerate(zip(done_s, latencies_ms, strict=True), start=1):
        if warm_up.is_over(round(done * S)):
            return done, warm_up.steady
        warm_up.enter(round(done * S), round(latency_ms * 1e6), number)
    assert warm_up.is_over(round(limit_s * S)), "a warm-up ends at its limit"
    return limit_s, warm_up.steady


def evenly(rate_per_s, to_s):
    return np.arange(0, to_s, 1 / rate_per_s)


def test_a_warm_server_takes_three_windows():
    done_s = evenly(400, 10)
    assert seconds_until_steady(done_s, [2.0] * len(done_s)) == (pytest.approx(0.75, abs=0.01), True)


def test_a_server_that_gets_faster_is_awaited():
    done_s = evenly(400, 20)
    latencies_ms = 2 + 20 * np.exp(-done_s / 0.5)
    over_s, steady = seconds_until_steady(done_s, latencies_ms)
    assert steady
    # From then on the median changes by less than 10 % over three windows.
    assert 1.5 < over_s < 5
    assert 20 * np.exp(-(over_s - 3 * 0.5) / 0.5) < 2


def test_a_slow_server_gets_longer_windows():
    done_s = evenly(10, 30)
    over_s, steady = seconds_until_steady(done_s, [100.0] * len(done_s))
    assert steady
    assert over_s == pytest.approx(3 * 1.0, abs=0.3)


def test_delays_that_vary_get_longer_windows():
    source = np.random.default_rng(1)
    latencies_ms = source.exponential(5.0, 20_000)
    over_s, steady = seconds_until_steady(np.cumsum(latencies_ms) / 1000, latencies_ms)
    assert steady
    assert 0.75 <= over_s <= 6


def test_a_server_that_never_settles_ends_at_the_limit():
    done_s = evenly(400, 10)
    latencies_ms = 2 * 3 ** (done_s * 2 % 3)
    assert seconds_until_steady(done_s, latencies_ms, limit_s=3.0) == (pytest.approx(3.0, abs=0.01), False)


def test_a_drift_shows_in_windows_of_every_length():
    done_s = evenly(400, 12)
    latencies_ms = 2 * 1.5**done_s
    assert seconds_until_steady(done_s, latencies_ms, limit_s=10.0) == (pytest.approx(10.0, abs=0.01), False)


def test_a_pause_is_not_overlooked():
    done_s = np.concatenate([evenly(400, 0.6), 3 + evenly(400, 5)])
    over_s, steady = seconds_until_steady(done_s, [2.0] * len(done_s))
    assert steady
    assert over_s == pytest.approx(3.75, abs=0.3)


def test_silence_ends_at_the_limit():
    assert seconds_until_steady([], [], limit_s=2.0) == (pytest.approx(2.0), False)


def test_chance_in_an_open_schedule_is_not_the_server_s_fault():
    source = np.random.default_rng(3)
    over_s = []
    for _ in range(50):
        done_s = np.cumsum(source.exponential(1 / 100, 3000))
        over_s.append(seconds_until_steady(done_s, [5.0] * len(done_s), rate_per_s=100)[0])
    assert np.median(over_s) == pytest.approx(0.75, abs=0.1)
    assert max(over_s) < 1.5

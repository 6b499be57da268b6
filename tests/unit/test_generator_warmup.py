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


def test_chance_in_an_open_schedule_is_not_the_server_s_fault():
    source = np.random.default_rng(3)
    over_s = []
    for _ in range(50):
        done_s = np.cumsum(source.exponential(1 / 100, 3000))
        over_s.append(seconds_until_steady(done_s, [5.0] * len(done_s), rate_per_s=100)[0])
    assert np.median(over_s) == pytest.approx(0.75, abs=0.1)
    assert max(over_s) < 1.5


def over(requests, *, limit_s, rate_per_s=None, users_count=1):
    """Play requests, (second, latency in ms or None for a failure); return when it was over, if steady."""
    warm_up = WarmUp(0, round(limit_s * S), rate_per_s, users_count)
    for number, (done_s, latency_ms) in enumerate(requests, start=1):
        if warm_up.is_over(round(done_s * S)):
            return done_s, warm_up.steady
        if latency_ms is None:
            warm_up.fail()
        else:
            warm_up.enter(round(done_s * S), round(latency_ms * 1e6), number)
    return None, warm_up.steady


def test_a_server_that_answers_once_in_two_seconds_is_warm_when_few_answers_agree():
    one_at_a_time = [(2.0 * number, 2000.0) for number in range(1, 40)]
    over_s, steady = over(one_at_a_time, limit_s=8.0)
    assert steady
    assert over_s == pytest.approx(28.0)  # thirteen answers, and the moment at which it is asked


def test_convoys_of_a_slow_server_are_no_change_of_its_speed():
    convoys = [(2.0 * number + user / 1000, 2000.0) for number in range(1, 20) for user in range(8)]
    over_s, steady = over(convoys, limit_s=8.0, users_count=8)
    assert steady
    assert over_s <= 10.1


@pytest.mark.parametrize("limit_s", [3.0, 8.0])
def test_a_server_too_slow_for_windows_of_ten_is_warm_before_the_limit(limit_s):
    nine_a_second = [(0.11 * number, 110.0) for number in range(1, 600)]
    over_s, steady = over(nine_a_second, limit_s=limit_s)
    assert steady
    assert over_s < limit_s


def test_few_arrivals_a_second_are_enough():
    over_s, steady = over([(number / 4, 30.0) for number in range(1, 100)], limit_s=8.0, rate_per_s=4.0)
    assert steady
    assert over_s < 8.0


def test_a_slow_server_that_gets_faster_is_not_warm():
    done_s = np.cumsum(2.0 * 0.93 ** np.arange(24))
    latencies_ms = 2000 * 0.93 ** np.arange(24)
    over_s, steady = over(list(zip(done_s, latencies_ms, strict=True)), limit_s=8.0)
    assert not steady
    assert over_s is None  # it is given the time for as many again


def test_a_server_that_fails_gets_no_more_than_the_limit():
    assert over([(0.5 * number, None) for number in range(1, 200)], limit_s=3.0) == (3.0, False)


def test_a_server_that_says_nothing_ends_it_after_half_a_minute():
    warm_up = WarmUp(0, 3 * S)
    assert not warm_up.is_over(29 * S)
    assert warm_up.is_over(30 * S)
    assert not warm_up.steady

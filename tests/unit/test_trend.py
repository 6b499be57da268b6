import math

import numpy as np
import pytest

from loadtests.trend import trend


def test_the_change_of_an_exact_exponential_is_exact_whatever_the_span():
    values = [100 * 1.02**second for second in range(10)]
    for span in (1, 10):
        found = trend(values, span)
        assert found.change == pytest.approx(1.02**span - 1)
        assert found.low == pytest.approx(found.change)
        assert found.high == pytest.approx(found.change)


def test_a_single_dip_does_not_move_it():
    values = [1000.0] * 12
    values[7] = 300.0
    found = trend(values, 10)
    assert found.change == 0
    assert found.is_within(0.02)


def test_swapping_the_direction_gives_the_reciprocal():
    rising = [100 * math.exp(0.03 * second) for second in range(10)]
    up, down = trend(rising, 10), trend(rising[::-1], 10)
    assert (1 + up.change) * (1 + down.change) == pytest.approx(1)


def test_too_few_points_tell_nothing_and_nothing_below_zero_is_a_speed():
    assert trend([1.0, 2.0, 3.0], 10) is None
    with pytest.raises(ValueError, match="above zero"):
        trend([1.0, 0.0, 2.0, 3.0], 10)


def test_the_interval_holds_the_true_slope_about_nine_times_in_ten():
    source = np.random.default_rng(5)
    held = 0
    for _ in range(300):
        values = 1000 * np.exp(0.01 * np.arange(15) + 0.05 * source.standard_normal(15))
        found = trend(list(values), 10)
        held += found.low <= math.expm1(0.1) <= found.high
    assert 0.84 <= held / 300 <= 0.97

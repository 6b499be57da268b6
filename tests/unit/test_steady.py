import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.steady import Window, is_steady

figures = st.floats(0.1, 1e6)
windows = st.lists(st.builds(Window, figures, figures), max_size=6)


def steady(*pairs):
    return is_steady([Window(*pair) for pair in pairs])


def test_three_windows_that_agree_are_steady():
    assert steady((100, 5), (105, 5.2), (110, 5.5))


def test_two_are_not_enough():
    assert not steady()
    assert not steady((100, 5), (100, 5))


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("odd", [(89.9, 5), (111.2, 5), (100, 4.4), (100, 5.6)])
def test_one_that_differs_by_more_than_ten_percent_is_enough_to_wait(place, odd):
    seen = [(100, 5)] * 3
    seen[place] = odd
    assert not steady(*seen)


def test_ten_percent_are_allowed_and_counted_from_the_smallest():
    assert steady((1000, 10), (1100, 11), (1050, 10))
    assert not steady((1000, 10), (1101, 10), (1050, 10))
    assert not steady((1000, 10), (1050, 11.01), (1050, 10))
    assert not steady((950, 10), (1000, 10), (1050, 10))


def test_only_the_last_three_count():
    assert steady((1, 900), (100, 5), (100, 5), (100, 5))
    assert not steady((100, 5), (100, 5), (100, 5), (1, 5))


def test_silence_is_not_steady():
    assert not steady((0, None), (0, None), (0, None))
    assert not steady((100, 5), (0, None), (100, 5))
    assert not steady((0, 5), (0, 5), (0, 5))


@given(windows)
def test_steady_means_every_two_of_the_last_three_agree(seen):
    last = seen[-3:]
    expected = len(last) == 3 and all(
        a.throughput_per_s <= 1.1 * b.throughput_per_s and a.p50_ms <= 1.1 * b.p50_ms
        for a in last
        for b in last
    )
    assert is_steady(seen) == expected

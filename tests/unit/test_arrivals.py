import itertools

import numpy as np
import pytest
import scipy.stats

from loadtests.arrivals import Load, parse_load, poisson_schedule
from loadtests.errors import LoadError


@pytest.mark.parametrize(
    ("text", "load"),
    [
        ("closed:8", Load("closed", 8)),
        (" closed:1 ", Load("closed", 1)),
        ("open:250", Load("open", 250)),
        ("open:0.5", Load("open", 0.5)),
    ],
)
def test_loads(text, load):
    assert parse_load(text) == load
    assert parse_load(str(load)) == load


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "closed:USERS or open:RATE"),
        ("8", "closed:USERS or open:RATE"),
        ("closed", "closed:USERS or open:RATE"),
        ("closed:-1", "closed:USERS or open:RATE"),
        ("open:1e3", "closed:USERS or open:RATE"),
        ("Closed:8", "closed:USERS or open:RATE"),
        ("closed:0", "above zero"),
        ("open:0.0", "above zero"),
        ("open:50001", "at most 50000 requests per second"),
        ("closed:1.5", "whole number"),
    ],
)
def test_what_is_not_a_load_is_said_in_one_line(text, words):
    with pytest.raises(LoadError, match=words) as caught:
        parse_load(text)
    assert repr(text) in str(caught.value)
    assert "\n" not in str(caught.value)


def times(rate_per_s, seed, count):
    return np.array(list(itertools.islice(poisson_schedule(rate_per_s, seed), count)))


def test_a_schedule_is_decided_by_its_seed():
    assert np.array_equal(times(100, 1, 1000), times(100, 1, 1000))
    assert not np.array_equal(times(100, 1, 1000), times(100, 2, 1000))


def test_a_schedule_is_a_poisson_process():
    gaps_s = np.diff(times(250, 7, 20_001), prepend=0) / 1e9
    assert np.all(gaps_s >= 0)
    assert scipy.stats.kstest(gaps_s, scipy.stats.expon(scale=1 / 250).cdf).pvalue > 0.001
    # Independent of one another: no gap tells anything about the next.
    assert abs(np.corrcoef(gaps_s[:-1], gaps_s[1:])[0, 1]) < 0.03
    per_second = np.bincount((np.cumsum(gaps_s)).astype(int))[:-1]
    assert per_second.mean() == pytest.approx(250, rel=0.03)
    assert per_second.var() == pytest.approx(250, rel=0.5)

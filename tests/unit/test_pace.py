"""A closed load that is held back: how much comes in a second, and what is not made up for."""

from itertools import pairwise

import pytest

from loadtests.arrivals import NS_PER_S
from loadtests.pace import BURST_NS, Pace


def turns(rate_per_s, arrivals_ns):
    pace = Pace(rate_per_s)
    return [pace.turn_ns(at_ns) for at_ns in arrivals_ns]


@pytest.mark.parametrize("rate_per_s", [2, 50, 5000])
def test_users_that_always_ask_get_the_rate_and_no_more(rate_per_s):
    pace, now_ns, count = Pace(rate_per_s), NS_PER_S, 0
    while (now_ns := pace.turn_ns(now_ns)) < 3 * NS_PER_S:
        count += 1
    assert 2 * rate_per_s <= count <= 2 * rate_per_s + 1 + rate_per_s * BURST_NS / NS_PER_S


def test_requests_that_meet_by_chance_are_not_held_back():
    arrivals = [NS_PER_S, NS_PER_S, NS_PER_S + 1000, 2 * NS_PER_S, 2 * NS_PER_S]
    assert turns(1000, arrivals) == arrivals


def test_what_nobody_took_is_not_made_up_for():
    later = turns(2, [NS_PER_S, *[9 * NS_PER_S] * 5])[1:]
    assert later[0] == 9 * NS_PER_S
    assert all(after - before == NS_PER_S // 2 for before, after in pairwise(later[1:]))

"""How long a search is said to take: a slow server needs longer rounds for as many requests."""

import re
from types import SimpleNamespace

from pipelines.compare import slo
from pipelines.config.profiles import find_profile

QUICK = find_profile("quick")


def minutes(rates_per_s):
    settings = SimpleNamespace(profile=QUICK)
    windows_s = [slo.rate_round_s(QUICK, rate_per_s) for rate_per_s in rates_per_s]
    least, most = re.search(r"about (\d+) to (\d+) min", slo.expected(settings, windows_s)).groups()
    return int(least), int(most)


def test_a_side_more_takes_as_much_more_time():
    one, two = minutes([1000.0]), minutes([1000.0] * 2)
    assert all(abs(both - 2 * single) <= 1 for single, both in zip(one, two, strict=True))


def test_a_slow_server_takes_as_much_longer_as_its_rounds_need_for_a_p99():
    fast, slow = minutes([1000.0]), minutes([20.0])
    longer = slo.rate_round_s(QUICK, 20.0) / slo.rate_round_s(QUICK, 1000.0)
    assert longer > 5
    assert slow[0] > longer / 2 * fast[0]
    assert slow[1] > slow[0]

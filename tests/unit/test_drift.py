import numpy as np
import pytest

from loadtests.drift import find_drift


@pytest.mark.parametrize(
    ("speeds", "change"),
    [
        ([100], None),
        ([], None),
        ([100, 124], None),
        ([100, 126], 0.26),
        ([100, 79], -0.21),
        ([100, 90, 120], None),
        ([100, 105, 114], None),
        ([100, 105, 116], 0.16),
        ([116, 105, 100], -16 / 116),
        ([100, 100, 200], 1.0),
        ([430, 720, 1100], 1100 / 430 - 1),
    ],
)
def test_the_first_against_the_last_and_in_order(speeds, change):
    found = find_drift(speeds)
    if change is None:
        assert found is None
    else:
        assert found.change == pytest.approx(change)
        assert found.climbs == (change > 0)


def test_steady_servers_are_rarely_said_to_drift():
    source = np.random.default_rng(3)
    false_alarms = sum(
        find_drift(list(1000 * np.exp(0.04 * source.standard_normal(3)))) is not None for _ in range(2000)
    )
    assert false_alarms / 2000 < 0.02

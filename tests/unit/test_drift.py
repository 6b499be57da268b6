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


@pytest.mark.parametrize(
    ("speeds", "probes_ms", "change"),
    [
        # Seen on 29 November 2026: the embedded server, steady, on a machine that got faster.
        ([2996, 3652, 4281], [0.37, 0.30, 0.27], None),
        ([862, 1067, 1083], [0.33, 0.34, 0.31], None),
        ([4281, 3652, 2996], [0.27, 0.30, 0.37], None),
        # A server that warms up, whatever the machine does.
        ([465, 1076, 895], [0.44, 0.36, 0.43], 895 / 465 - 1),
        ([500, 800, 1000], [0.50, 0.50, 0.50], 1.0),
        ([500, 800, 1000], [0.40, 0.45, 0.50], 1.0),
        ([1000, 800, 500], [0.50, 0.50, 0.50], -0.5),
        # The machine's change alone is no drift of a server that did not show one.
        ([1000, 1000, 1000], [0.30, 0.40, 0.60], None),
        # It got faster while the machine got much faster: the server itself got slower, which is no climb.
        ([500, 550, 650], [0.60, 0.40, 0.20], None),
        # Not every round was timed, so nothing is known of the machine.
        ([2996, 3652, 4281], [0.37, None, 0.27], 4281 / 2996 - 1),
    ],
)
def test_what_the_machines_own_speed_explains_is_no_drift(speeds, probes_ms, change):
    found = find_drift(speeds, probes_ms)
    assert (found.change if found else None) == (pytest.approx(change) if change else None)


def test_a_restless_machine_makes_few_steady_servers_drift_and_hides_no_doubling():
    source = np.random.default_rng(5)

    def share_found(step, *, timed):
        found = 0
        for _ in range(2000):
            machine = np.exp(0.14 * source.standard_normal(3))
            speeds = (
                1000 * np.array([1, step**0.5, step]) * machine * np.exp(0.04 * source.standard_normal(3))
            )
            probes_ms = list(0.4 / machine) if timed else ()
            found += find_drift(list(speeds), probes_ms) is not None
        return found / 2000

    assert share_found(1.0, timed=False) > 0.2
    assert share_found(1.0, timed=True) < 0.02
    assert share_found(2.0, timed=True) > 0.95

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests import delivery

SECOND = 1_000_000_000
times = st.lists(st.tuples(st.integers(0, 4 * SECOND), st.integers(0, 3_000_000)), max_size=50)


def test_an_unhindered_schedule_is_delivered_in_full():
    due = np.arange(0, 2 * SECOND, 10_000_000)
    offered = delivery.offered_rate(due, 0, 2 * SECOND)
    assert offered == 100
    assert delivery.delivered_share(offered, delivery.achieved_rate(due, due + 200_000, 0, 2 * SECOND)) == 1
    assert delivery.late_share(due, due + 200_000) == 0


def test_a_generator_that_falls_behind_achieves_less():
    due = np.arange(0, 2 * SECOND, 10_000_000)
    sent = due * 2  # half as fast as it should be
    achieved = delivery.achieved_rate(due, sent, 0, 2 * SECOND)
    # The one due at 1.0 s was sent at 2.0 s, the very end, and counts with the tolerance.
    assert achieved == pytest.approx(50.5)
    assert delivery.late_share(due, sent) == pytest.approx(199 / 200)


def test_the_window_holds_its_beginning_and_not_its_end():
    due = np.array([0, SECOND, 2 * SECOND - 1, 2 * SECOND])
    assert delivery.offered_rate(due, SECOND, 2 * SECOND) == 2
    assert delivery.achieved_rate(due, due, SECOND, 2 * SECOND) == 2


def test_late_is_more_than_a_millisecond_after():
    due = np.zeros(4, dtype=np.int64)
    sent = np.array([-5, 1_000_000, 1_000_001, 9_000_000])
    assert delivery.lateness_ns(due, sent).tolist() == sent.tolist()
    assert delivery.late_share(due, sent) == 0.5
    assert delivery.late_share(due, sent, limit_ns=999_999) == 0.75


def test_a_request_due_at_the_end_may_be_sent_a_millisecond_after_it():
    due = np.array([SECOND - 1, SECOND - 1])
    sent = np.array([SECOND + 999_999, SECOND + 1_000_000])
    assert delivery.achieved_rate(due, sent, 0, SECOND) == 1


def test_nothing_has_no_rate_and_no_share():
    none = np.empty(0, dtype=np.int64)
    assert delivery.late_share(none, none) is None
    assert delivery.offered_rate(none, 5, 5) is None
    assert delivery.achieved_rate(none, none, 5, 4) is None
    assert delivery.offered_rate(none, 0, SECOND) == 0
    assert delivery.delivered_share(None, 1.0) is None
    assert delivery.delivered_share(1.0, None) is None
    assert delivery.delivered_share(0.0, 0.0) is None
    assert delivery.delivered_share(50.0, 0.0) == 0


@pytest.mark.slow
@given(times, st.integers(0, 2 * SECOND), st.integers(1, 2 * SECOND))
def test_counted_one_by_one(requests, start, length):
    due = np.array([scheduled for scheduled, _ in requests], dtype=np.int64)
    sent = np.array([scheduled + late for scheduled, late in requests], dtype=np.int64)
    end = start + length
    within = [(scheduled, late) for scheduled, late in requests if start <= scheduled < end]
    in_time = [1 for scheduled, late in within if scheduled + late < end + 1_000_000]
    assert delivery.offered_rate(due, start, end) == pytest.approx(len(within) / (length / 1e9))
    assert delivery.achieved_rate(due, sent, start, end) == pytest.approx(len(in_time) / (length / 1e9))
    if requests:
        late = [1 for _, late in requests if late > 1_000_000]
        assert delivery.late_share(due, sent) == pytest.approx(len(late) / len(requests))

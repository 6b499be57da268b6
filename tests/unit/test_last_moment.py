"""Waiting awake: how early, how long, and that the sockets are not forgotten meanwhile."""

import time

import gevent
import pytest
from gevent import socket
from hypothesis import given
from hypothesis import strategies as st

from loadtests.last_moment import LONGEST_NS, SHARE_LIMIT, LastMoment, ahead_ns, let_answers_in

MS = 1_000_000


@given(st.floats(min_value=0.01, max_value=50_000))
def test_polling_takes_a_bounded_time_and_a_bounded_share_of_the_core(rate_per_s):
    ahead = ahead_ns(rate_per_s)
    assert 0 < ahead <= LONGEST_NS
    assert rate_per_s * ahead / 1e9 <= SHARE_LIMIT * 1.001


def test_a_low_rate_polls_as_long_as_a_core_needs_to_wake_up():
    assert ahead_ns(10) == LONGEST_NS


def test_never_returns_early_and_counts_what_it_polled():
    last_moment = LastMoment(MS)
    begin_ns = time.monotonic_ns()
    last_moment.wait_until(begin_ns + 5 * MS)
    took_ns = time.monotonic_ns() - begin_ns
    assert took_ns >= 5 * MS
    assert 0.5 * took_ns < last_moment.polled_ns <= took_ns


def lead_after(busy_share, looks, last_moment=None):
    """How early to come after so many looks at a core that is so busy; and who says so."""
    clock = {"now": 10**12, "cpu": 5 * MS}
    last_moment = last_moment or LastMoment(400_000, lambda: clock["cpu"])
    for _ in range(looks):
        last_moment.adapt(clock["now"])
        clock["now"] += 100 * MS
        clock["cpu"] += round(busy_share * 100 * MS)
    return last_moment.ahead_ns


@pytest.mark.parametrize(
    ("busy_share", "looks", "expected"),
    [(0.99, 1, 400_000), (0.99, 2, 200_000), (0.99, 3, 100_000), (0.99, 50, 25_000), (0.6, 50, 400_000)],
)
def test_a_busy_core_is_polled_less_until_it_has_time_again(busy_share, looks, expected):
    """Real-time priority is taken away for 50 ms when it uses up the core."""
    assert lead_after(busy_share, looks) == expected


def test_a_core_that_has_time_again_is_polled_as_long_as_before():
    clock = {"now": 10**12, "cpu": 0}
    last_moment = LastMoment(400_000, lambda: clock["cpu"])
    leads = []
    for busy_share in [0.9] * 4 + [0.6] * 3 + [0.3] * 6:
        last_moment.adapt(clock["now"])
        leads.append(last_moment.ahead_ns)
        clock["now"] += 100 * MS
        clock["cpu"] += round(busy_share * 100 * MS)
    assert leads[4:8] == [25_000] * 4
    assert leads[-1] == 400_000


def test_looks_ten_times_a_second_and_not_at_every_arrival():
    asked = []
    last_moment = LastMoment(400_000, lambda: asked.append(1) or 0)
    for now_ns in range(0, 1000 * MS, MS):
        last_moment.adapt(now_ns)
    assert len(asked) == 10


def test_who_may_never_poll_never_does():
    assert lead_after(0.1, 20, LastMoment(0)) == 0


def test_a_moment_that_has_passed_is_not_waited_for():
    last_moment = LastMoment(MS)
    last_moment.wait_until(time.monotonic_ns())
    assert last_moment.polled_ns == 0


def test_what_several_wait_for_together_counts_once():
    last_moment = LastMoment(MS)
    begin_ns = time.monotonic_ns()
    gevent.joinall([gevent.spawn(last_moment.wait_until, begin_ns + 5 * MS) for _ in range(4)])
    assert 0 < last_moment.polled_ns <= time.monotonic_ns() - begin_ns


def test_polls_in_which_something_else_was_done_do_not_count():
    last_moment = LastMoment(MS)

    def work() -> None:
        for _ in range(5):
            last_moment.note_work()
            time.sleep(0.004)  # gevent cannot switch away: this is work
            gevent.idle()

    begin_ns = time.monotonic_ns()
    gevent.joinall([gevent.spawn(last_moment.wait_until, begin_ns + 15 * MS), gevent.spawn(work)])
    assert last_moment.polled_ns < 8 * MS


@pytest.fixture
def pair():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def test_answers_are_read_while_waiting(pair):
    ours, theirs = pair
    reading = gevent.spawn(ours.recv, 10)
    gevent.sleep(0)
    theirs.send(b"answer")
    LastMoment(MS).wait_until(time.monotonic_ns() + 20 * MS)
    assert reading.value == b"answer"


def test_answers_that_have_come_are_read_before_the_caller_goes_on(pair):
    ours, theirs = pair
    reading = gevent.spawn(ours.recv, 10)
    gevent.sleep(0)
    theirs.send(b"answer")
    gevent.sleep(0)
    assert reading.value is None  # the reason why there is let_answers_in
    let_answers_in()
    assert reading.value == b"answer"

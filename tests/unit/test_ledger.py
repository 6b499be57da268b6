import itertools
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.errors import PayloadError
from loadtests.ledger import GONE_AFTER_NS, Exchange, Failure, Ledger, Phase, spread_checks
from loadtests.payloads import CheckedOutput, PayloadPool
from loadtests.recorder import Recorder, partial_path, read_samples
from loadtests.users.wire import encode_requests, failure_of

RIGHT = b'{"predictions": [[0.1, 0.9]]}'
WRONG = b'{"predictions": [[0.9, 0.1]]}'


def make_pool(expected=({"scores": (0.1, 0.9)},), **changes):
    fields = {"method": "POST", "path": "/p", "headers": {"Content-Type": "application/json"}}
    return PayloadPool(
        **fields | changes,
        bodies=(b'{"instances":[[1.0]]}',),
        expected=expected,
        outputs=(CheckedOutput("scores", 1e-3, 0.0, classes=True),),
    )


def make_ledger(recorder=None, check_share=1.0, pool=None):
    pool = pool or make_pool()
    warmup, window = (
        Phase(pool, check_share=check_share, seed=1, recorder=which) for which in (None, recorder)
    )
    return Ledger(warmup, window)


def exchange(at_ns=0, status=200, body=RIGHT, failure=None, done_ns=None):
    done_ns = at_ns + 1 if done_ns is None else done_ns
    return Exchange(0, at_ns, at_ns, done_ns, status, body, failure)


def refused(at_ns):
    return exchange(at_ns, 0, b"", Failure("refused", "nobody there"))


def test_each_request_belongs_to_the_phase_it_was_sent_in(tmp_path):
    recorder = Recorder(tmp_path / "window.parquet")
    ledger = make_ledger(recorder)
    ledger.enter(exchange(5))
    ledger.open_window(100, 200)
    for at_ns in (99, 100, 150, 199):
        ledger.enter(exchange(at_ns, done_ns=500))
    recorder.close()
    assert ledger.warmup.requests_count == 2
    assert ledger.window.requests_count == 3
    assert read_samples(tmp_path / "window.parquet").sent_ns.tolist() == [100, 150, 199]
    assert [ledger.is_over(at_ns) for at_ns in (199, 200)] == [False, True]


def test_failures_are_counted_by_kind_with_the_words_of_the_first():
    ledger = make_ledger()
    ledger.open_window(0, 100)
    assert ledger.enter(exchange(1)) is None
    ledger.enter(exchange(2, 503, b"busy"))
    ledger.enter(exchange(3, 503, b"busy again"))
    ledger.enter(exchange(4, 0, b"", Failure("timeout", "waited")))
    assert ledger.enter(exchange(5, 200, WRONG)) == Failure("wrong answer", WRONG.decode())
    window = ledger.window
    assert [(group.kind, group.count, group.example) for group in window.errors] == [
        ("http 503", 2, "busy"),
        ("timeout", 1, "waited"),
        ("wrong answer", 1, WRONG.decode()),
    ]
    assert (window.requests_count, window.errors_count) == (5, 4)
    assert (window.checked_count, window.wrong_count) == (2, 1)
    assert window.bytes_received == len(RIGHT) + len(WRONG) + len(b"busy") + len(b"busy again")


def test_a_pool_without_expected_answers_is_not_checked():
    ledger = make_ledger(pool=make_pool(expected=None))
    ledger.open_window(0, 100)
    assert ledger.enter(exchange(1, body=b"anything")) is None
    assert ledger.window.checked_count == 0


@given(st.floats(0.001, 1.0), st.integers(0, 5), st.integers(1, 3000))
def test_at_least_the_share_asked_for_is_checked(share, seed, count):
    chosen = list(itertools.islice(spread_checks(share, seed), count))
    assert chosen[0]
    stride = int(1 / share)
    assert count // stride <= sum(chosen) <= count // stride + 1
    assert chosen == list(itertools.islice(spread_checks(share, seed), count))


def test_checks_move_about_and_can_be_left_out():
    places = {place % 100 for place, yes in enumerate(itertools.islice(spread_checks(0.01, 3), 5000)) if yes}
    assert len(places) > 20
    assert not any(itertools.islice(spread_checks(0.0, 3), 1000))


def test_a_server_that_is_gone_ends_the_round():
    ledger = make_ledger()
    ledger.open_window(0, 10**12)
    ledger.enter(refused(1))
    ledger.enter(refused(GONE_AFTER_NS))
    assert not ledger.server_gone
    ledger.enter(refused(GONE_AFTER_NS + 2))
    assert ledger.server_gone
    assert ledger.is_over(GONE_AFTER_NS + 4)


@pytest.mark.parametrize("sign_of_life", [exchange(10**9), exchange(10**9, 503, b"")])
def test_any_http_answer_shows_that_the_server_is_there(sign_of_life):
    ledger = make_ledger()
    ledger.enter(refused(1))
    ledger.enter(sign_of_life)
    ledger.enter(refused(GONE_AFTER_NS + 5))
    assert not ledger.server_gone


def test_a_slow_server_is_not_gone():
    ledger = make_ledger()
    for second in range(20):
        ledger.enter(exchange(second * 10**9, 0, b"", Failure("timeout", "slow")))
    assert not ledger.server_gone


def test_a_full_disk_ends_the_round_and_is_kept_as_its_error(tmp_path):
    path = tmp_path / "window.parquet"
    partial_path(path).symlink_to("/dev/full")
    recorder = Recorder(path, batch_rows=1)
    ledger = make_ledger(recorder)
    ledger.open_window(0, 10**12)
    for at_ns in range(1, 200):
        ledger.enter(exchange(at_ns))
    assert "No space left" in str(ledger.error)
    assert ledger.is_over(200)


def test_whole_requests_are_made_beforehand():
    (request,) = encode_requests(make_pool(), "http://127.0.0.1:8501/prefix/")
    assert request == (
        b"POST /prefix/p HTTP/1.1\r\nHost: 127.0.0.1:8501\r\nContent-Type: application/json\r\n"
        b'Content-Length: 21\r\n\r\n{"instances":[[1.0]]}'
    )


@pytest.mark.parametrize("changes", [{"path": "/p\r\nX: y"}, {"headers": {"A": "b\nc"}}])
def test_a_header_cannot_break_a_request_in_two(changes):
    with pytest.raises(PayloadError, match="line break"):
        encode_requests(make_pool(**changes), "http://127.0.0.1:1")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (TimeoutError("timed out"), "timeout"),
        (ConnectionRefusedError(111, "refused"), "refused"),
        (ConnectionResetError(104, "reset"), "reset"),
        (BrokenPipeError(32, "pipe"), "reset"),
        (OSError(113, "no route"), "unreachable"),
    ],
)
def test_failures_have_names(error, kind):
    assert failure_of(error).kind == kind
    assert type(error).__name__ in failure_of(error).example


@pytest.mark.slow
def test_importing_what_the_command_line_needs_does_not_patch_anything():
    modules = "arrivals, files, ledger, payloads, plan, recorder, result, statistics"
    code = f"from loadtests import {modules}; import sys; sys.exit('gevent' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

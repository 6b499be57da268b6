"""Where every request of a round is entered when it has ended: checked, counted, recorded."""

import itertools
import random
import ssl
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from loadtests.errors import RecorderError
from loadtests.payloads import PayloadPool, check_answer
from loadtests.recorder import Recorder, RequestRecord
from loadtests.reports import Seconds
from loadtests.result import ErrorGroup
from loadtests.statistics import STATUS_OK
from loadtests.warmup import WarmUp

NEVER: Final = 2**63 - 1
GONE_AFTER_NS: Final = 2_000_000_000
UNREACHABLE: Final = frozenset({"refused", "reset", "closed", "unreachable", "TLS"})
"""Kinds of failure that mean nobody is there; a timeout is not one, a slow server is still a server."""

EXAMPLE_CHARACTERS: Final = 200


class Failure(NamedTuple):
    """Why a request failed: a kind to count by, and the words of this one."""

    kind: str
    example: str


SOCKET_KINDS: Final = (
    (TimeoutError, "timeout"),
    (ssl.SSLError, "TLS"),
    (ConnectionRefusedError, "refused"),
    (ConnectionResetError, "reset"),
    (BrokenPipeError, "reset"),
    (OSError, "unreachable"),
)
"""What goes wrong on a socket, whatever is spoken over it."""


def name_failure(error: BaseException, kinds: Iterable[tuple[type[BaseException], str]]) -> Failure:
    """Name what went wrong on the wire by the first of `kinds` that it is."""
    kind = next(name for type_, name in kinds if isinstance(error, type_))
    return Failure(kind, f"{type(error).__name__}: {error}")


class Answer(NamedTuple):
    """What came back: HTTP's status or what stands for it, the body, and when its last byte was read.

    `failure` is how the server refused in words of the protocol's own; None for what the status says alone.
    """

    status: int
    body: bytes
    done_ns: int
    failure: Failure | None


class Exchange(NamedTuple):
    """One request and what came of it.

    Attributes:
        body_index: which of the pool's bodies was sent.
        scheduled_ns, sent_ns, done_ns: see recorder.RequestRecord.
        status: HTTP status, 0 without an HTTP answer.
        body: the answer's body, empty without one.
        failure: why there was no answer; None when there was one, whatever its status.
    """

    body_index: int
    scheduled_ns: int
    sent_ns: int
    done_ns: int
    status: int
    body: bytes
    failure: Failure | None


class Phase:
    """One stretch of a round, the warm-up or the window, with its own recording and its own counts."""

    def __init__(
        self, pool: PayloadPool, *, check_share: float, seed: int, recorder: Recorder | None
    ) -> None:
        self.requests_count = 0
        self.errors_count = 0
        self.checked_count = 0
        self.wrong_count = 0
        self.bytes_received = 0
        self._pool = pool
        self._recorder = recorder
        self._checks = spread_checks(check_share if pool.expected is not None else 0.0, seed)
        self._errors: dict[str, ErrorGroup] = {}
        # By body sent, the last answer found right: the same bytes are right again, at next to no cost.
        self._right: dict[int, bytes] = {}

    @property
    def errors(self) -> tuple[ErrorGroup, ...]:
        """The failed requests by kind, the most frequent first."""
        return tuple(sorted(self._errors.values(), key=lambda group: -group.count))

    def enter(self, exchange: Exchange) -> Failure | None:
        """Check, count and record one request; return why it failed, None if it did not.

        Raises:
            RecorderError: the disk takes no more.
        """
        correct = self._check(exchange)
        failure = _failure(exchange, correct)
        self.requests_count += 1
        self.bytes_received += len(exchange.body)
        if failure is not None:
            self._count(failure)
        if self._recorder is not None:
            times = exchange.scheduled_ns, exchange.sent_ns, exchange.done_ns
            self._recorder.add(RequestRecord(*times, exchange.status, len(exchange.body), correct))
        return failure

    def _check(self, exchange: Exchange) -> bool | None:
        if not next(self._checks) or exchange.status != STATUS_OK:
            return None
        correct = self._is_right(exchange.body_index, exchange.body)
        self.checked_count += 1
        self.wrong_count += not correct
        return correct

    def _is_right(self, index: int, body: bytes) -> bool:
        if self._right.get(index) == body:
            return True
        correct = check_answer(self._pool, index, body)
        if correct:
            self._right[index] = body
        return correct

    def _count(self, failure: Failure) -> None:
        self.errors_count += 1
        group = self._errors.get(failure.kind, ErrorGroup(failure.kind, 0, failure.example))
        self._errors[failure.kind] = ErrorGroup(group.kind, group.count + 1, group.example)


class Ledger:
    """Puts each request into the phase it was sent in, and decides when a round is over.

    The warm-up lasts until `open_window`. A request belongs to the phase in which it was scheduled, which
    under closed load is when it was sent; one that ends after the window still counts.
    """

    def __init__(self, warmup: Phase, window: Phase) -> None:
        self.warmup = warmup
        self.window = window
        self.due_count = 0
        """Arrivals of open load that have been due so far, counted by their sender."""
        self._warm_up: WarmUp | None = None
        self._seconds: Seconds | None = None
        self.window_start_ns = NEVER
        self.end_ns = NEVER
        self.server_gone = False
        self.error: RecorderError | None = None
        self._silent_since_ns: int | None = None

    def begin_warmup(self, warm_up: WarmUp) -> None:
        """Let `warm_up` see every request until the window opens."""
        self._warm_up = warm_up

    def open_window(self, start_ns: int, end_ns: int, seconds: Seconds | None = None) -> None:
        """Measure the requests from `start_ns` on, before `end_ns`; monotonic nanoseconds.

        `seconds` sees every successful one of them.
        """
        self.window_start_ns = start_ns
        self.end_ns = min(end_ns, self.end_ns)
        self._warm_up = None
        self._seconds = seconds

    def is_over(self, now_ns: int) -> bool:
        """Return whether a request at `now_ns` would come too late to belong to the round."""
        return now_ns >= self.end_ns

    def stop(self, now_ns: int) -> None:
        """End the round now. Requests in flight still count."""
        self.end_ns = min(now_ns, self.end_ns)

    def enter(self, exchange: Exchange) -> Failure | None:
        """Enter one request; return why it failed, None if it did not."""
        phase = self.window if exchange.scheduled_ns >= self.window_start_ns else self.warmup
        try:
            failure = phase.enter(exchange)
        except RecorderError as error:
            self.error = self.error or error
            self.stop(exchange.done_ns)
            return Failure("not recorded", str(error))
        self._watch_server(exchange, failure)
        if failure is None:
            self._watch_speed(exchange, in_window=phase is self.window)
        elif self._warm_up is not None:
            self._warm_up.fail()
        return failure

    def _watch_speed(self, exchange: Exchange, *, in_window: bool) -> None:
        latency_ns = exchange.done_ns - exchange.scheduled_ns
        if self._warm_up is not None:
            self._warm_up.enter(exchange.done_ns, latency_ns, self.due_count)
        elif self._seconds is not None and in_window:
            self._seconds.enter(exchange.done_ns, latency_ns)

    def _watch_server(self, exchange: Exchange, failure: Failure | None) -> None:
        if exchange.status > 0:
            self._silent_since_ns = None
        elif failure is not None and failure.kind in UNREACHABLE:
            self._silent_since_ns = self._silent_since_ns or exchange.done_ns
            if exchange.done_ns - self._silent_since_ns > GONE_AFTER_NS:
                self.server_gone = True
                self.stop(exchange.done_ns)


def spread_checks(share: float, seed: int) -> Iterator[bool]:
    """Say for one request after the other whether to look into its answer, for ever.

    The first is looked into, and then one at a seeded random place in every run of floor(1 / share): never
    fewer than `share` asks for, and never long stretches without.
    """
    if share <= 0:
        yield from itertools.repeat(False)
    stride = int(1 / share)
    source = random.Random(seed)  # noqa: S311 - a sample, not a secret
    chosen = 0
    while True:
        yield from (place == chosen for place in range(stride))
        chosen = source.randrange(stride)


def _failure(exchange: Exchange, correct: bool | None) -> Failure | None:
    if exchange.failure is not None:
        return exchange.failure
    if exchange.status != STATUS_OK:
        return Failure(f"http {exchange.status}", _excerpt(exchange.body))
    return Failure("wrong answer", _excerpt(exchange.body)) if correct is False else None


def _excerpt(body: bytes) -> str:
    return body[:EXAMPLE_CHARACTERS].decode(errors="replace")

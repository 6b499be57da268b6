"""Locust users that send a pool's bodies and enter every request into a ledger, whatever it travels over.

How bytes travel is a wire's business (`wire.py`, `grpc_wire.py`); when, and what the clock says, is decided
here, so that the rules are the same over all of them.
"""

import importlib
import itertools
import random
import resource
import time
from collections.abc import Iterator
from typing import Any, ClassVar, Final

import gevent  # type: ignore[import-untyped]
from gevent.pool import Pool  # type: ignore[import-untyped]
from locust import User, task
from locust.exception import StopUser

from loadtests.arrivals import IN_FLIGHT_LIMIT, NS_PER_S, SPARE_FILES, poisson_schedule
from loadtests.errors import PayloadError
from loadtests.last_moment import LastMoment, let_answers_in
from loadtests.ledger import NEVER, UNREACHABLE, Exchange, Failure, Ledger
from loadtests.pace import Pace
from loadtests.payloads import PayloadPool
from loadtests.precise_timer import PreciseTimer

TRANSPORTS: Final = {
    "http": ("loadtests.users.wire", "Wire"),
    "grpc": ("loadtests.users.grpc_wire", "GrpcWire"),
}
"""By the name that a payload pool carries: where its kind of connections is. Imported when it is used."""

BACK_OFF_S: Final = 0.05
"""Pause of a user after it could not reach the server."""

LOOK_UP_NS: Final = NS_PER_S // 10
"""How often a user that waits for the next arrival looks whether the round has ended."""

TOO_LATE_NS: Final = NS_PER_S // 4
"""An arrival that could not be sent so long after the round's end is not sent any more."""

TURN: Final = 64
"""Arrivals that a generator behind its schedule starts before it lets the others run."""


class RequestFailed(Exception):  # noqa: N818 - what Locust's own pages show as the error
    """A failed request, for Locust's statistics, which group failures by this text."""


class LoadUser(User):
    """Sends a pool's bodies and enters each request into the ledger and into Locust's own statistics."""

    abstract = True
    wire_type: ClassVar[Any]
    """The kind of connections: `Wire` or `GrpcWire`."""
    network_timeout: ClassVar[float]
    """How long a server may stay silent, seconds."""
    concurrency: ClassVar[int] = 1
    ledger: ClassVar[Ledger]
    pool: ClassVar[PayloadPool]
    requests: ClassVar[tuple[Any, ...]]
    """The pool's bodies as whole requests, encoded before the clock starts."""
    seed: ClassVar[int] = 0
    tls: ClassVar[Any] = None
    """What is asked of the server's certificate; None for the usual."""
    pace: ClassVar[Pace | None] = None
    """What holds a closed load back; None for nothing."""
    last_moment: ClassVar[LastMoment] = LastMoment(0)
    users_count: ClassVar[Iterator[int]]

    def __init__(self, environment: Any) -> None:
        super().__init__(environment)
        self.wire = self.wire_type(
            str(self.host), timeout_s=self.network_timeout, concurrency=self.concurrency, tls=self.tls
        )
        self.number = next(self.users_count)
        self.order = self._new_order()
        self._order_of_window = False

    def _new_order(self) -> Iterator[int]:
        return payload_order(len(self.requests), f"{self.seed}/{self.number}")

    def next_body(self, at_ns: int) -> int:
        """Return which body to send at `at_ns`: their order begins anew when the window opens.

        So the two sides of a pair are asked the same, however long the warm-up of each took.
        """
        if not self._order_of_window and at_ns >= self.ledger.window_start_ns:
            self._order_of_window, self.order = True, self._new_order()
        return next(self.order)

    def on_start(self) -> None:
        """Wait for the window, where it is known already because no warm-up comes before it."""
        if self.ledger.window_start_ns < NEVER:
            wait_ns = self.ledger.window_start_ns - time.monotonic_ns()
            gevent.sleep(max(0.0, wait_ns / NS_PER_S))

    def on_stop(self) -> None:
        """Close this user's connections."""
        self.wire.close()

    def send(self, index: int, connection: Any, scheduled_ns: int | None = None) -> Failure | None:
        """Send body `index`, enter what came of it, and return why it failed, None if it did not.

        Between the two readings of the clock there is only the connection: nothing is encoded, decoded or
        counted. Without a `connection`, one is made in that time. Closed load has no schedule but the moment
        of sending.
        """
        request = self.wire.ready(self.requests[index], connection)
        failure: Failure | None = _CUT_OFF
        status, body, done_ns = 0, b"", 0
        sent_ns = time.monotonic_ns()
        try:
            status, body, done_ns, failure = self.wire.exchange(request, connection)
            self.last_moment.note_work()
            # Answers that came meanwhile are all read before any of them is looked into.
            let_answers_in()
        except self.wire.failures as error:
            failure = self.wire.failure_of(error)
        finally:
            # Also when this greenlet is killed: what was sent is never left out.
            times = scheduled_ns or sent_ns, sent_ns, done_ns or time.monotonic_ns()
            outcome = self._enter(Exchange(index, *times, status, body, failure))
        return outcome

    def _enter(self, exchange: Exchange) -> Failure | None:
        self.last_moment.note_work()
        failure = self.ledger.enter(exchange)
        self.environment.events.request.fire(
            request_type=self.pool.request_type,
            name=self.pool.path,
            response_time=(exchange.done_ns - exchange.scheduled_ns) / 1e6,
            response_length=len(exchange.body),
            exception=None if failure is None else RequestFailed(failure.kind),
            context={},
        )
        return failure


class ClosedUser(LoadUser):
    """Closed load: sends its next request when it has the answer to the last."""

    abstract = True

    @task
    def predict(self) -> None:
        """Send one request, unless the round is over."""
        if self.pace is not None:
            self.pace.wait(self.ledger)
        now_ns = time.monotonic_ns()
        if self.ledger.is_over(now_ns):
            raise StopUser
        failure = self.send(self.next_body(now_ns), self.wire.idle_connection())
        if failure is not None and failure.kind in UNREACHABLE:
            gevent.sleep(BACK_OFF_S)


class OpenUser(LoadUser):
    """Open load: one user that starts a greenlet per arrival and waits for none of them.

    Only when IN_FLIGHT_LIMIT requests are unanswered does an arrival wait for a place, so that a load beyond
    the server or the generator ends with a full record instead of a full memory. What it waits is in its
    latency, and what is still waiting at the end of the round is entered as `not sent`.
    """

    abstract = True
    rate_per_s: ClassVar[float]
    # With fewer connections requests would queue for one, which closes the loop again.
    concurrency = IN_FLIGHT_LIMIT

    def __init__(self, environment: Any) -> None:
        super().__init__(environment)
        self.arrivals: Iterator[int] = iter(())
        """When requests are due, monotonic nanoseconds; those that were not sent yet."""
        self.given_up: list[int] = []
        """When requests of the warm-up were due that could not be sent before the window opened."""

    @task
    def predict_on_schedule(self) -> None:
        """Follow the schedule of the warm-up and then, from its beginning, that of the window.

        Both are the same arrivals. The window's begin at its opening, so that the two sides of a pair meet
        the same ones although their warm-ups differ in length. In the end it waits for the answers still due.
        """
        in_flight = Pool(in_flight_limit())
        try:
            self._begin_schedule(min(time.monotonic_ns(), self.ledger.window_start_ns))
            self._follow_schedule(in_flight)
            if self.schedule_start_ns < self.ledger.window_start_ns < NEVER:
                self.given_up = self._late_arrivals(self.ledger.window_start_ns)
                self._begin_schedule(self.ledger.window_start_ns)
                self._follow_schedule(in_flight)
            in_flight.join()
        finally:
            in_flight.kill()
            # When nothing is in flight any more: thousands of rows would delay the reading of answers.
            self._give_up(time.monotonic_ns())
        raise StopUser

    def _begin_schedule(self, start_ns: int) -> None:
        self.arrivals = (start_ns + offset_ns for offset_ns in poisson_schedule(self.rate_per_s, self.seed))
        self.schedule_start_ns = start_ns

    def _is_over(self, at_ns: int) -> bool:
        """Return whether an arrival at `at_ns` is not in this schedule: the window or round goes first."""
        window_start_ns = self.ledger.window_start_ns
        if self.schedule_start_ns < window_start_ns <= at_ns:
            return True
        return self.ledger.is_over(at_ns)

    def _follow_schedule(self, in_flight: Pool) -> None:
        with PreciseTimer() as timer:
            for due_ns in self.arrivals:
                # Put back until it is sent, so that it is on record also when this greenlet is killed.
                later, self.arrivals = self.arrivals, itertools.chain((due_ns,), self.arrivals)
                if not (self._wait_until(due_ns, timer) and self._wait_for_place(in_flight)):
                    return
                self.arrivals = later
                self.ledger.due_count += 1
                in_flight.spawn(self._send_when_due, self.next_body(due_ns), due_ns)

    def _send_when_due(self, index: int, due_ns: int) -> None:
        connection = self.wire.idle_connection()
        self.last_moment.note_work()
        self.last_moment.wait_until(due_ns)
        if self.ledger.is_over(due_ns):
            # The round was stopped in the meantime.
            self.wire.give_back(connection)
            return
        self.last_moment.note_work()
        self.send(index, connection, due_ns)

    def _wait_until(self, due_ns: int, timer: PreciseTimer) -> bool:
        """Wait until an arrival is near; return whether it still belongs to the round."""
        if due_ns <= time.monotonic_ns() and self.ledger.due_count % TURN == 0:
            gevent.sleep(0)
        self.last_moment.adapt(time.monotonic_ns())
        near_ns = due_ns - self.last_moment.ahead_ns
        # An arrival beyond the window's opening is none of the warm-up's: it is not waited for, or the first
        # arrivals of the window would be late.
        while (now_ns := time.monotonic_ns()) < near_ns and not (
            self._is_over(now_ns) or self._is_over(due_ns)
        ):
            timer.wait_until(min(near_ns, now_ns + LOOK_UP_NS))
        return not self._is_over(due_ns)

    def _wait_for_place(self, in_flight: Pool) -> bool:
        """Wait until one more request may be in flight; return False when it is too late to send it."""
        while not self._is_over(time.monotonic_ns() - TOO_LATE_NS):
            if not in_flight.full():
                return True
            in_flight.wait_available(LOOK_UP_NS / NS_PER_S)
        return False

    def _late_arrivals(self, before_ns: int) -> list[int]:
        """Return the arrivals left that were due before `before_ns`, and in the round."""
        limit_ns = min(before_ns, self.ledger.end_ns)
        return list(itertools.takewhile(lambda due_ns: due_ns < limit_ns, self.arrivals))

    def _give_up(self, now_ns: int) -> None:
        """Enter every arrival that was due by now and in the round, but could not be sent."""
        for due_ns in (*self.given_up, *self._late_arrivals(now_ns)):
            self.ledger.enter(Exchange(0, due_ns, now_ns, now_ns, 0, b"", _NOT_SENT))


_CUT_OFF = Failure("cut off", "still unanswered when the round's time for waiting was over")

_NOT_SENT = Failure("not sent", "the round was over before this arrival could be sent")


def in_flight_limit() -> int:
    """Return how many requests may be in flight, every one of which takes a file descriptor."""
    return min(IN_FLIGHT_LIMIT, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - SPARE_FILES)


def payload_order(bodies_count: int, seed: str) -> Iterator[int]:
    """Yield indices of bodies for ever: each once, in an order that `seed` decides, then again."""
    source = random.Random(seed)  # noqa: S311 - an order, not a secret
    return itertools.cycle(source.sample(range(bodies_count), bodies_count))


def round_user(
    load_is_open: bool,
    *,
    ledger: Ledger,
    pool: PayloadPool,
    url_base: str,
    seed: int,
    timeout_s: float,
    rate_per_s: float | None = None,
    last_moment: LastMoment,
    tls: Any = None,
    pace: Pace | None = None,
) -> type[LoadUser]:
    """Make the user class of one round: Locust wants a class, and its users share what is prepared here."""
    base = OpenUser if load_is_open else ClosedUser
    wire_type = wire_of(pool.transport)
    prepared = {
        "abstract": False,
        "wire_type": wire_type,
        "host": url_base,
        "network_timeout": timeout_s,
        "ledger": ledger,
        "pool": pool,
        "requests": wire_type.encode(pool, url_base),
        "seed": seed,
        "users_count": itertools.count(),
        "rate_per_s": rate_per_s,
        "last_moment": last_moment,
        "tls": tls,
        "pace": pace,
    }
    return type(base.__name__, (base,), prepared)


def wire_of(transport: str) -> Any:
    """Return the kind of connections that `transport`, a name of `TRANSPORTS`, takes.

    Raises:
        PayloadError: there is no such transport.
    """
    if transport not in TRANSPORTS:
        raise PayloadError(f"unknown transport {transport!r}; allowed: {', '.join(TRANSPORTS)}")
    module, name = TRANSPORTS[transport]
    return getattr(importlib.import_module(module), name)

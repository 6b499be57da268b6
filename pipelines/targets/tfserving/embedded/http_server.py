"""What the HTTP connections of one server share: limits, the clock, and the end of all of them."""

import asyncio
import time
from dataclasses import dataclass
from email.utils import formatdate
from typing import Protocol

from .budget import Budget
from .rest import Request, Response
from .workers import Workers

_SWEEP_S = 1.0


class Api(Protocol):
    """What answers the requests."""

    def is_quick(self, request: Request) -> bool:
        """Return whether a request may be answered on the event loop."""

    def handle(self, request: Request, quick: bool = False) -> Response:
        """Answer a request without raising."""


class Client(Protocol):
    """One connection, as its server sees it; `active_s` is the loop's time of its last sign of life."""

    active_s: float

    @property
    def is_pending(self) -> bool:
        """Whether it waits for an answer."""

    def end_if_stalled(self, now_s: float, longest_s: float) -> None:
        """Hang up if nothing has happened for longer than `longest_s`."""

    def close_if_idle(self) -> None:
        """Close it unless it waits for an answer."""

    def abort(self) -> None:
        """Close it at once."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Largest body in bytes, most connections, and after how many s a stalled client is hung up on.

    0 s is never.
    """

    max_body_bytes: int
    max_connections: int
    idle_timeout_s: float


class HttpServer:
    """What the connections of one server share."""

    def __init__(
        self, api: Api, workers: Workers, limits: Limits, budget: Budget, cors: bool = False
    ) -> None:
        self.api = api
        self.workers = workers
        self.limits = limits
        self.budget = budget
        self.cors = cors
        self.draining = False
        self.loop = asyncio.get_running_loop()
        self.connections: set[Client] = set()
        self._date_second = 0
        self._date = b""
        if limits.idle_timeout_s:
            self.loop.call_later(self._sweep_s, self._sweep)

    @property
    def _sweep_s(self) -> float:
        return min(_SWEEP_S, self.limits.idle_timeout_s / 4)

    def _sweep(self) -> None:
        """Hang up on clients that have done nothing for too long."""
        now = self.loop.time()
        for connection in list(self.connections):
            connection.end_if_stalled(now, self.limits.idle_timeout_s)
        self.loop.call_later(self._sweep_s, self._sweep)

    def admit(self, connection: Client) -> bool:
        """Count a new connection, if need be in the place of the one that has been silent for longest.

        False if all others are waiting for an answer.
        """
        if len(self.connections) >= self.limits.max_connections:
            silent = [other for other in self.connections if not other.is_pending]
            if not silent:
                return False
            longest = min(silent, key=lambda other: other.active_s)
            longest.abort()
            self.connections.discard(longest)
        self.connections.add(connection)
        return True

    def date(self) -> bytes:
        """Return the Date header's value, made once per second."""
        now = int(time.time())
        if now != self._date_second:
            self._date_second, self._date = now, formatdate(now, usegmt=True).encode("ascii")
        return self._date

    async def drain(self, longest_s: float) -> bool:
        """Let running requests finish and close every connection; whether all of them did in time."""
        self.draining = True
        for connection in list(self.connections):
            connection.close_if_idle()
        end = self.loop.time() + longest_s
        while any(connection.is_pending for connection in self.connections) and self.loop.time() < end:
            await asyncio.sleep(0.01)
        done = not any(connection.is_pending for connection in self.connections)
        for connection in list(self.connections):
            connection.abort()
        return done

"""A server whose delays are known, to find out whether the measurement tells the truth about them.

    python -m loadtests.servers.known_delay --delay constant:20 --log-file delays.csv
    python -m loadtests.servers.known_delay --delay bimodal:5,50,0.1
    python -m loadtests.servers.known_delay --delay heavy:5,1.5 --stall-at-s 3
    python -m loadtests.servers.known_delay --delay constant:5 --one-at-a-time
    python -m loadtests.servers.known_delay --delay constant:10 --faster-after-s 20

What it really did is written to the log file by this process alone, one line per request:
`received_ns,answered_ns,kind`, monotonic nanoseconds; kind is `right`, `wrong` or `error`.

It never sleeps: an idle core of a virtual machine takes up to half a millisecond to wake, which would be in
what a generator measures and not in the log. Give it a core of its own.
"""

import argparse
import asyncio
import contextlib
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TextIO, cast

from loadtests.servers.http1 import response, serve, take_request

RIGHT_BODY: Final = b'{"predictions": [[0.1, 0.7, 0.2]]}'
WRONG_BODY: Final = b'{"predictions": [[0.7, 0.1, 0.2]]}'
ERROR_BODY: Final = b'{"error": "no luck"}'
STALL_S: Final = 1.0
LOAD_GAP_S: Final = 0.1
"""As much of a longer time without requests counts as load."""

LOG_COLUMNS: Final = "received_ns,answered_ns,kind"

ANSWERS: Final = {
    "right": response(200, RIGHT_BODY),
    "wrong": response(200, WRONG_BODY),
    "error": response(503, ERROR_BODY),
}


@dataclass(frozen=True)
class Behaviour:
    """What to do with each request.

    Attributes:
        delay_s: draws how long to wait before answering.
        error_share, wrong_share: how often to answer 503, and 200 with another class.
        stall_at_s: seconds after the first request when nothing is begun for one second; None: never.
        one_at_a_time: whether requests wait for one another; else all delays run at the same time.
        faster_after_s: seconds of load after which all delays are halved, as by a compiler; None: never.
    """

    delay_s: Callable[[random.Random], float]
    error_share: float
    wrong_share: float
    stall_at_s: float | None
    one_at_a_time: bool
    faster_after_s: float | None = None


class KnownDelayServer:
    """Answers as programmed and writes down what it did."""

    def __init__(self, behaviour: Behaviour, seed: int, log: TextIO | None) -> None:
        self._behaviour = behaviour
        self._source = random.Random(seed)  # noqa: S311 - repeatable on purpose
        self._log = log
        self._first_s: float | None = None
        self._free_s = 0.0
        self._loaded_s = 0.0
        self._last_s: float | None = None

    def stay_awake(self) -> None:
        """Have the event loop look for requests and due answers without pause, from now on."""
        asyncio.get_running_loop().call_soon(self.stay_awake)

    def received(self, transport: asyncio.Transport, received_ns: int) -> None:
        """Answer one request on `transport` when its delay is over."""
        loop = asyncio.get_running_loop()
        kind, delay_s = self._kind(), self._behaviour.delay_s(self._source) / self._speed(loop.time())
        loop.call_at(self._due_s(loop.time(), delay_s), self._answer, transport, received_ns, kind)

    def _speed(self, now_s: float) -> float:
        """Return 1, or 2 after `faster_after_s` of load; a second without requests is not load."""
        self._loaded_s += min(now_s - self._last_s, LOAD_GAP_S) if self._last_s is not None else 0.0
        self._last_s = now_s
        limit_s = self._behaviour.faster_after_s
        return 1.0 if limit_s is None or self._loaded_s < limit_s else 2.0

    def _due_s(self, now_s: float, delay_s: float) -> float:
        """Return when to answer a request that came at `now_s`."""
        if not self._behaviour.one_at_a_time:
            return now_s + max(delay_s, self._stalled_s(now_s))
        begins_s = max(now_s, self._free_s)
        # When it should be free, not when it was: what the event loop adds does not pile up.
        self._free_s = begins_s + self._stalled_s(begins_s) + delay_s
        return self._free_s

    def _answer(self, transport: asyncio.Transport, received_ns: int, kind: str) -> None:
        transport.write(ANSWERS[kind])
        if self._log is not None:
            self._log.write(f"{received_ns},{time.monotonic_ns()},{kind}\n")

    def _kind(self) -> str:
        drawn = self._source.random()
        if drawn < self._behaviour.error_share:
            return "error"
        return "wrong" if drawn < self._behaviour.error_share + self._behaviour.wrong_share else "right"

    def _stalled_s(self, now_s: float) -> float:
        """Return how long the stall still lasts, 0 outside of it."""
        self._first_s = now_s if self._first_s is None else self._first_s
        if self._behaviour.stall_at_s is None:
            return 0.0
        begins_s = self._first_s + self._behaviour.stall_at_s
        return begins_s + STALL_S - now_s if begins_s <= now_s < begins_s + STALL_S else 0.0


class KnownDelayProtocol(asyncio.Protocol):
    """One connection."""

    def __init__(self, server: KnownDelayServer) -> None:
        self._server = server
        self._buffer = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where to write."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Hand over every request that is complete."""
        received_ns = time.monotonic_ns()
        self._buffer += data
        while take_request(self._buffer) is not None:
            self._server.received(self._transport, received_ns)


def parse_delay(text: str) -> Callable[[random.Random], float]:
    """Read how to draw delays; returns a function that draws one, in seconds.

    `constant:MS`; `bimodal:MS,MS,SHARE` (SHARE of the requests take the second); `heavy:MS,ALPHA` (Pareto: at
    least MS, the smaller ALPHA the longer the tail; at most a second).

    Raises:
        ValueError: anything else.
    """
    kind, _, rest = text.partition(":")
    numbers = [float(number) for number in rest.split(",")]
    if kind == "constant" and len(numbers) == 1:
        return lambda _: numbers[0] / 1000
    if kind == "bimodal" and len(numbers) == 3:  # noqa: PLR2004 - as many as named
        return lambda source: numbers[source.random() < numbers[2]] / 1000
    if kind == "heavy" and len(numbers) == 2:  # noqa: PLR2004 - as many as named
        return lambda source: min(1.0, numbers[0] * source.paretovariate(numbers[1]) / 1000)
    raise ValueError(f"delay {text!r} is not constant:MS, bimodal:MS,MS,SHARE or heavy:MS,ALPHA")


def main() -> None:
    """Parse the command line and serve until interrupted or terminated."""
    options = _parser().parse_args()
    behaviour = Behaviour(
        options.delay,
        options.error_share,
        options.wrong_share,
        options.stall_at_s,
        options.one_at_a_time,
        options.faster_after_s,
    )
    # Leave by an exception, so that the log is closed and complete.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.suppress(KeyboardInterrupt))
        log = stack.enter_context(options.log_file.open("w")) if options.log_file else None
        if log is not None:
            log.write(LOG_COLUMNS + "\n")
        server = KnownDelayServer(behaviour, options.seed, log)
        asyncio.run(_serve(server, options.host, options.port))


async def _serve(server: KnownDelayServer, host: str, port: int) -> None:
    server.stay_awake()
    await serve(lambda: KnownDelayProtocol(server), host, port)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Answers HTTP requests after a known delay.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one (default)")
    parser.add_argument("--delay", type=parse_delay, default="constant:20", help="see above; milliseconds")
    parser.add_argument("--error-share", type=float, default=0.0, help="share of requests answered with 503")
    parser.add_argument("--wrong-share", type=float, default=0.0, help="share answered with another class")
    parser.add_argument("--stall-at-s", type=float, help="begin nothing for one second from then on")
    parser.add_argument("--faster-after-s", type=float, help="halve all delays after so much load")
    parser.add_argument("--one-at-a-time", action="store_true", help="let requests wait for one another")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--log-file", type=Path, help="CSV of what was done")
    return parser


if __name__ == "__main__":
    main()

"""A server with faults in front of it: passes requests on to another server, and spoils some answers.

    python -m loadtests.servers.faulty --port 9000 --upstream 8501 --delay-ms 5 -- SERVER ARGUMENTS…
    python -m loadtests.servers.faulty --port 9000 --upstream 8501 --close-every 10 --wrong-after 500

For finding out whether a gate fires. Every POST is passed on after the delay; every `--wrong-every`-th answer
after the first `--wrong-after` gets other numbers, in the same form. Instead of an answer, every so many
POSTs after those first ones may find the connection closed (`--close-every`), wait `--slow-ms` for theirs
(`--slow-every`), be told to come again later (`--busy-every`, with `--busy-status`), or be sent elsewhere
(`--redirect-every`). Who does not send the header that `--require-header-file` holds gets status 401 with
what was sent instead. The server is started if its command is given, and the two live and end together.
"""

import argparse
import asyncio
import contextlib
import json
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from loadtests.servers.http1 import response, take_request

CHUNK_BYTES = 2**16
OK_HEAD = b"HTTP/1.1 200"
ELSEWHERE = "/elsewhere"
REDIRECT_STATUS = 307
RETRY_AFTER_S = 1
Fault = Literal["close", "slow", "busy", "redirect", "wrong"]
LATE_S = 0.002
"""How late the event loop's timer may be: the last stretch of a delay is waited for without it."""


@dataclass(frozen=True)
class Faults:
    """What to spoil.

    Attributes:
        delay_s: waited before every POST is passed on.
        wrong_every: which answers get other numbers, 0 for none.
        wrong_after: as many POSTs are answered right first, whatever is to be spoilt.
        header: a whole line that every request needs, None for none.
        close_every: which POSTs find their connection closed, 0 for none.
        slow_every, slow_s: which wait longer for their answers, 0 for none, and how long.
        busy_every, busy_status: which are told to come again later, 0 for none, and by which status.
        redirect_every: which are sent elsewhere, 0 for none.
    """

    delay_s: float = 0.0
    wrong_every: int = 0
    wrong_after: int = 0
    header: bytes | None = None
    close_every: int = 0
    slow_every: int = 0
    slow_s: float = 0.0
    busy_every: int = 0
    busy_status: int = 503
    redirect_every: int = 0

    def refuses(self, request: bytes) -> bool:
        """Return whether a request lacks the header."""
        head = request.partition(b"\r\n\r\n")[0].lower()
        return self.header is not None and self.header.lower() not in head.split(b"\r\n")

    def spoils(self, number: int) -> bool:
        """Return whether the answer of that number, from 1, is a wrong one."""
        return self._is_turn(self.wrong_every, number)

    def fault(self, number: int) -> Fault | None:
        """Return what becomes of the POST of that number, from 1; of several, what spoils it most."""
        turns: tuple[tuple[Fault, int], ...] = (
            ("close", self.close_every),
            ("redirect", self.redirect_every),
            ("busy", self.busy_every),
            ("slow", self.slow_every),
        )
        fault = next((fault for fault, every in turns if self._is_turn(every, number)), None)
        return fault or ("wrong" if self.spoils(number) else None)

    def _is_turn(self, every: int, number: int) -> bool:
        return bool(every) and number > self.wrong_after and number % every == 0

    def refusal(self, fault: Fault | None) -> bytes | None:
        """Return what is answered without asking the server; None where it is asked."""
        if fault == "busy":
            return _with_header(self.busy_status, f"Retry-After: {RETRY_AFTER_S}")
        if fault == "redirect":
            return _with_header(REDIRECT_STATUS, f"Location: {ELSEWHERE}")
        return None


def _with_header(status: int, line: str) -> bytes:
    """Return a response without content that has one more header."""
    head, end, body = response(status, b"{}").partition(b"\r\n\r\n")
    return head + b"\r\n" + line.encode() + end + body


def other_numbers(value: Any) -> Any:
    """Return a JSON value in which every number is another one."""
    if isinstance(value, dict):
        return {key: other_numbers(part) for key, part in value.items()}
    if isinstance(value, list):
        return [other_numbers(part) for part in value]
    if isinstance(value, bool):
        return not value
    return -value - 1 if isinstance(value, int | float) else value


def spoilt(answer: bytes) -> bytes:
    """Return a response with other numbers in its JSON body; an answer without one stays as it was."""
    head, _, body = answer.partition(b"\r\n\r\n")
    if not head.startswith(OK_HEAD):
        return answer
    try:
        return response(200, json.dumps(other_numbers(json.loads(body))).encode())
    except ValueError:
        return answer


class Proxy:
    """Passes on what clients ask, one upstream connection for each of theirs."""

    def __init__(self, upstream: int, faults: Faults) -> None:
        self._upstream = upstream
        self._faults = faults
        self._posts = 0

    async def client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until either side closes it, or we are told to end."""
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            above = await asyncio.open_connection("127.0.0.1", self._upstream)
            try:
                await self._pass_on(reader, writer, *above)
            finally:
                above[1].close()
        writer.close()

    async def _pass_on(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        from_above: asyncio.StreamReader,
        above: asyncio.StreamWriter,
    ) -> None:
        received = bytearray()
        while data := await reader.read(CHUNK_BYTES):
            received += data
            while (request := take_request(received)) is not None:
                is_post = request.startswith(b"POST")
                if self._faults.refuses(request):
                    head = request.partition(b"\r\n\r\n")[0].decode(errors="replace")
                    writer.write(response(401, json.dumps({"error": head}).encode()))
                    await writer.drain()
                    continue
                fault = self._next_fault() if is_post else None
                if fault == "close":
                    return
                if (refusal := self._faults.refusal(fault)) is None:
                    if is_post:
                        await _hold(self._faults.delay_s + (self._faults.slow_s if fault == "slow" else 0.0))
                    above.write(request)
                    answer = await _answer(from_above)
                    refusal = spoilt(answer) if fault == "wrong" else answer
                writer.write(refusal)
                await writer.drain()

    def _next_fault(self) -> Fault | None:
        self._posts += 1
        return self._faults.fault(self._posts)


async def _hold(delay_s: float) -> None:
    """Wait for a time to some microseconds, while other connections go on."""
    until_s = time.perf_counter() + delay_s
    if delay_s > LATE_S:
        await asyncio.sleep(delay_s - LATE_S)
    while time.perf_counter() < until_s:
        await asyncio.sleep(0)


async def _answer(stream: asyncio.StreamReader) -> bytes:
    """Read one whole response, by its Content-Length."""
    received = bytearray()
    while (whole := take_request(received)) is None:
        data = await stream.read(CHUNK_BYTES)
        if not data:
            raise asyncio.IncompleteReadError(bytes(received), None)
        received += data
    return whole


async def run(port: int, proxy: Proxy, child: "subprocess.Popen[bytes] | None") -> int:
    """Serve until the child ends, or we are told to; returns its exit code, 0 without one."""
    told = asyncio.Event()
    # Whoever ends us means both.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, child.terminate if child else told.set)
    server = await asyncio.start_server(proxy.client, "127.0.0.1", port, backlog=1024)
    async with server:
        if child is None:
            await told.wait()
            return 0
        while (code := child.poll()) is None:
            await asyncio.sleep(0.2)
    return code


def main() -> None:
    """Stand in front of a server until it ends, or, of one that runs already, until we are told to."""
    options = _parser().parse_args()
    needed = options.require_header_file
    faults = Faults(
        delay_s=options.delay_ms / 1000,
        wrong_every=options.wrong_every,
        wrong_after=options.wrong_after,
        header=needed.read_bytes().strip() if needed else None,
        close_every=options.close_every,
        slow_every=options.slow_every,
        slow_s=options.slow_ms / 1000,
        busy_every=options.busy_every,
        busy_status=options.busy_status,
        redirect_every=options.redirect_every,
    )
    proxy = Proxy(options.upstream, faults)
    if not options.command:
        sys.exit(asyncio.run(run(options.port, proxy, None)))
    with subprocess.Popen(options.command) as child:
        try:
            code = asyncio.run(run(options.port, proxy, child))
        finally:
            child.terminate()
    sys.exit(code if code >= 0 else 128 - code)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Stands in front of a server and spoils what it is told to.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--upstream", type=int, required=True, help="port of the server behind")
    parser.add_argument("--delay-ms", type=float, default=0.0)
    for fault in ("wrong", "close", "slow", "busy", "redirect"):
        parser.add_argument(f"--{fault}-every", type=int, default=0, metavar="N")
    parser.add_argument("--wrong-after", type=int, default=0, metavar="N", help="spoil none of the first N")
    parser.add_argument("--slow-ms", type=float, default=1000.0, help="what slow POSTs wait longer")
    parser.add_argument("--busy-status", type=int, default=503, choices=(429, 503))
    parser.add_argument("--require-header-file", type=Path)
    parser.add_argument("command", nargs="*", help="of a server to start; one that runs already without")
    return parser


if __name__ == "__main__":
    main()

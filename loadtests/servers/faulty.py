"""A server with faults in front of it: starts another server, passes requests on, and spoils some answers.

    python -m loadtests.servers.faulty --port 9000 --upstream 8501 --delay-ms 5 -- SERVER ARGUMENTS…

For finding out whether a gate fires. Every POST is passed on after the delay; every `--wrong-every`-th answer
after the first `--wrong-after` gets other numbers, in the same form. Who does not send the header that
`--require-header-file` holds gets status 401 with what was sent instead. The two live and end together.
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
from typing import Any

from loadtests.servers.http1 import response, take_request

CHUNK_BYTES = 2**16
OK_HEAD = b"HTTP/1.1 200"
LATE_S = 0.002
"""How late the event loop's timer may be: the last stretch of a delay is waited for without it."""


@dataclass(frozen=True)
class Faults:
    """What to spoil.

    Attributes:
        delay_s: waited before every POST is passed on.
        wrong_every: which answers get other numbers, 0 for none.
        wrong_after: as many answers are right first.
        header: a whole line that every request needs, None for none.
    """

    delay_s: float = 0.0
    wrong_every: int = 0
    wrong_after: int = 0
    header: bytes | None = None

    def refuses(self, request: bytes) -> bool:
        """Return whether a request lacks the header."""
        head = request.partition(b"\r\n\r\n")[0].lower()
        return self.header is not None and self.header.lower() not in head.split(b"\r\n")

    def spoils(self, number: int) -> bool:
        """Return whether the answer of that number, from 1, is a wrong one."""
        return bool(self.wrong_every) and number > self.wrong_after and number % self.wrong_every == 0


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
        self._answers = 0

    async def client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until either side closes it."""
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
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
                if is_post and self._faults.delay_s:
                    await _hold(self._faults.delay_s)
                above.write(request)
                writer.write(self._kept(await _answer(from_above), is_post=is_post))
                await writer.drain()

    def _kept(self, answer: bytes, *, is_post: bool) -> bytes:
        self._answers += is_post
        return spoilt(answer) if is_post and self._faults.spoils(self._answers) else answer


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


async def run(port: int, proxy: Proxy, child: "subprocess.Popen[bytes]") -> int:
    """Serve until the child ends; returns its exit code."""
    # Whoever ends us means both.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, child.terminate)
    server = await asyncio.start_server(proxy.client, "127.0.0.1", port, backlog=1024)
    async with server:
        while (code := child.poll()) is None:
            await asyncio.sleep(0.2)
    return code


def main() -> None:
    """Start the server, and stand in front of it until it ends."""
    parser = argparse.ArgumentParser(description="Stands in front of a server and spoils what it is told to.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--upstream", type=int, required=True, help="port of the server that is started")
    parser.add_argument("--delay-ms", type=float, default=0.0)
    parser.add_argument("--wrong-every", type=int, default=0)
    parser.add_argument("--wrong-after", type=int, default=0)
    parser.add_argument("--require-header-file", type=Path)
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()
    needed = options.require_header_file
    header = needed.read_bytes().strip() if needed else None
    faults = Faults(options.delay_ms / 1000, options.wrong_every, options.wrong_after, header)
    with subprocess.Popen(options.command) as child:
        try:
            code = asyncio.run(run(options.port, Proxy(options.upstream, faults), child))
        finally:
            child.terminate()
    sys.exit(code if code >= 0 else 128 - code)


if __name__ == "__main__":
    main()

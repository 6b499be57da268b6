"""A server that answers every request with the same bytes: what it takes to reach it is the harness's floor.

python -m loadtests.servers.null --port 8599 --body-file answer.json

With --grpc it speaks gRPC instead of HTTP/1.1, and the file holds the answer's message.
"""

import argparse
import asyncio
import contextlib
from pathlib import Path
from typing import cast

from loadtests.servers.grpc_calls import ConstantCalls
from loadtests.servers.http1 import response, serve, take_request

DEFAULT_BODY = b'{"predictions": [[0.0]]}'


class NullProtocol(asyncio.Protocol):
    """One connection."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer
        self._received = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where to write."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Answer every request that is complete."""
        self._received += data
        while take_request(self._received) is not None:
            self._transport.write(self._answer)


def main() -> None:
    """Parse the command line and serve until interrupted."""
    parser = argparse.ArgumentParser(description="Answers every request with the same body.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one (default)")
    parser.add_argument("--body-file", type=Path, help="the answer's body; default: one prediction of 0.0")
    parser.add_argument("--grpc", action="store_true", help="speak gRPC, whatever the method")
    options = parser.parse_args()
    body = options.body_file.read_bytes() if options.body_file else DEFAULT_BODY
    answer = response(200, body)
    with contextlib.suppress(KeyboardInterrupt), _runner() as runner:
        runner.run(
            serve(
                lambda: ConstantCalls(body) if options.grpc else NullProtocol(answer),
                options.host,
                options.port,
            )
        )


def _runner() -> asyncio.Runner:
    """Use uvloop where it is installed: it answers about twice as fast."""
    try:
        import uvloop
    except ImportError:
        return asyncio.Runner()
    return asyncio.Runner(loop_factory=uvloop.new_event_loop)


if __name__ == "__main__":
    main()

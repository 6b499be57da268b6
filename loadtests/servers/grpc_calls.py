"""Just enough gRPC for a server that answers every call with the same bytes.

Requests are taken in and not looked into, their headers not even unpacked, so that what a call takes is the
client's time and not this server's.
"""

import asyncio
from typing import Final, cast

from loadtests import http2
from loadtests.http2 import ACK, DATA, END_HEADERS, END_STREAM, HEADERS, PING, PREFACE, SETTINGS

# 0x88 is ":status: 200" in HPACK's static table.
_HEAD: Final = b"\x88" + http2.literal("content-type", "application/grpc")
_TAIL: Final = http2.literal("grpc-status", "0")


class ConstantCalls(asyncio.Protocol):
    """One connection, every call of which is answered with `body`, in as many frames as it takes."""

    def __init__(self, body: bytes) -> None:
        message = http2.message(body)
        self._parts = [
            message[at : at + http2.LARGEST_FRAME] for at in range(0, len(message), http2.LARGEST_FRAME)
        ]
        self._received = bytearray()
        self._greeted = False
        self._taken = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say first what a client may send."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(http2.greeting())

    def data_received(self, data: bytes) -> None:
        """Answer every call that is complete."""
        self._received += data
        if not self._greeted and not self._take_preface():
            return
        answers = b"".join(map(self._answer, http2.take_frames(self._received)))
        if answers:
            self._transport.write(answers)

    def _take_preface(self) -> bool:
        """Return whether the client has begun as HTTP/2 begins; hang up on one that speaks something else."""
        if not PREFACE.startswith(self._received[: len(PREFACE)]):
            self._transport.close()
        elif len(self._received) >= len(PREFACE):
            del self._received[: len(PREFACE)]
            self._greeted = True
        return self._greeted

    def _answer(self, frame: http2.Frame) -> bytes:
        if frame.kind in (SETTINGS, PING) and not frame.flags & ACK:
            return http2.frame(frame.kind, ACK, 0, frame.payload if frame.kind == PING else b"")
        if frame.kind not in (DATA, HEADERS):
            return b""
        answer = self._window(len(frame.payload)) if frame.kind == DATA else b""
        if frame.flags & END_STREAM:
            answer += http2.frame(HEADERS, END_HEADERS, frame.stream, _HEAD)
            answer += b"".join(http2.frame(DATA, 0, frame.stream, part) for part in self._parts)
            answer += http2.frame(HEADERS, END_HEADERS | END_STREAM, frame.stream, _TAIL)
        return answer

    def _window(self, size: int) -> bytes:
        """Let the client send on, before it has filled the window it was given."""
        self._taken += size
        if self._taken < http2.LARGEST_WINDOW // 2:
            return b""
        taken, self._taken = self._taken, 0
        return http2.window_update(taken)

"""One gRPC call at a time over an HTTP/2 connection, on whatever kind of socket it is given.

Calls are bytes made beforehand (`encode_calls`), so that sending one is nothing but sending, and the moment
of an answer is when its last byte was read (`exchange`). No compression, no streams; what encrypts is the
socket's business.
"""

import socket
import ssl
import struct
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import unquote, urlsplit

from hpack import Decoder, HPACKError

from loadtests import http2
from loadtests.errors import AddressError, PayloadError
from loadtests.http2 import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    FIRST_WINDOW,
    GOAWAY,
    HEADERS,
    LARGEST_FRAME,
    LARGEST_WINDOW,
    PADDED,
    PING,
    PREFIX_BYTES,
    PRIORITY,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    Frame,
)
from loadtests.ledger import SOCKET_KINDS, Answer, Failure, name_failure
from loadtests.payloads import PayloadPool

READ_BYTES: Final = 65536
SCHEME: Final = "grpc"
SCHEMES: Final = (SCHEME, "grpcs")
PROTOCOL: Final = "h2"
"""HTTP/2's name, by which both ends of an encrypted connection agree on it."""
GRPC_OK: Final = 0
HTTP_OK: Final = 200
# Code: its name, and the HTTP status that stands for it in a recording, as Google's API guide pairs them.
CODES: Final = {
    1: ("CANCELLED", 499),
    2: ("UNKNOWN", 500),
    3: ("INVALID_ARGUMENT", 400),
    4: ("DEADLINE_EXCEEDED", 504),
    5: ("NOT_FOUND", 404),
    6: ("ALREADY_EXISTS", 409),
    7: ("PERMISSION_DENIED", 403),
    8: ("RESOURCE_EXHAUSTED", 429),
    9: ("FAILED_PRECONDITION", 400),
    10: ("ABORTED", 409),
    11: ("OUT_OF_RANGE", 400),
    12: ("UNIMPLEMENTED", 501),
    13: ("INTERNAL", 500),
    14: ("UNAVAILABLE", 503),
    15: ("DATA_LOSS", 500),
    16: ("UNAUTHENTICATED", 401),
}
# The code that stands for an HTTP status of what does not speak gRPC itself, such as a proxy in front of a
# server, by gRPC's own mapping of HTTP's statuses.
OF_HTTP: Final = {"401": 16, "403": 7, "404": 12, "429": 14, "502": 14, "503": 14, "504": 14}
GREETING: Final = http2.PREFACE + http2.greeting()


class NotGrpc(Exception):  # noqa: N818 - a failure to count, not an error to mend
    """What answers does not speak gRPC, or not as the protocol has it."""


class ConnectionClosedError(OSError):
    """The server closed the connection before the answer was complete."""


GRPC_FAILURES: Final = (OSError, NotGrpc)
"""Everything that `exchange` raises because of the server or the network."""

_KINDS: Final = (
    (NotGrpc, "not gRPC"),
    (ConnectionClosedError, "closed"),
    *SOCKET_KINDS,
)


def failure_of(error: BaseException) -> Failure:
    """Name what went wrong on the wire."""
    return name_failure(error, _KINDS)


class Call(NamedTuple):
    """One request, ready but for the number of its stream.

    Attributes:
        pieces: for each frame what stands before that number, and what after it; the headers' first.
        data_bytes: what of it counts against the server's windows.
    """

    pieces: tuple[tuple[bytes, bytes], ...]
    data_bytes: int

    def on(self, stream: int) -> bytes:
        """Return the frames as they are sent on a stream."""
        number = struct.pack("!I", stream)
        return b"".join(part for before, after in self.pieces for part in (before, number, after))


def encode_calls(pool: PayloadPool, url_base: str) -> tuple[Call, ...]:
    """Return for each body of `pool` the whole call to send to `url_base`.

    Raises:
        PayloadError: a header or the path would break the call.
    """
    block = _block(url_base, pool.path, pool.headers)
    return tuple(_call(block, http2.message(body)) for body in pool.bodies)


def call_once(
    url: str,
    body: bytes,
    timeout_s: float,
    headers: Mapping[str, str] | None = None,
    tls: ssl.SSLContext | None = None,
) -> Answer:
    """Ask `grpc://HOST:PORT/SERVICE/METHOD` one thing, over a connection of its own; `grpcs://` needs `tls`.

    Raises:
        OSError, NotGrpc: nobody listens, nothing came for `timeout_s` seconds, encryption failed, or what
            answers does not speak gRPC.
        PayloadError: a header would break the call.
    """
    base = urlsplit(url)
    call = _call(_block(url, base.path, headers or {}), http2.message(body))
    with socket.create_connection((base.hostname or "", base.port or 0), timeout_s) as plain:
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls is None:
            return exchange(GrpcConnection(plain), call, GREETING, call.on(1))
        with tls.wrap_socket(plain, server_hostname=base.hostname) as encrypted:
            require_http2(encrypted)
            return exchange(GrpcConnection(encrypted), call, GREETING, call.on(1))


def require_http2(encrypted: Any) -> None:
    """Make sure that both ends of an encrypted connection mean HTTP/2.

    Raises:
        NotGrpc: the server does not.
    """
    if encrypted.selected_alpn_protocol() != PROTOCOL:
        raise NotGrpc("it does not offer HTTP/2 over its encrypted connection")


def _block(url_base: str, path: str, more: Mapping[str, str]) -> bytes:
    base = urlsplit(url_base)
    headers = {
        ":path": path,
        ":authority": base.netloc,
        "te": "trailers",
        "content-type": "application/grpc",
        "user-agent": "tandem-load",
        **{name.lower(): value for name, value in more.items()},
    }
    if any(not (text.isascii() and text.isprintable()) for pair in headers.items() for text in pair):
        raise PayloadError("a path or a header holds a line break or another character that it may not hold")
    # 0x83 is ":method: POST", 0x86 ":scheme: http" and 0x87 ":scheme: https" in HPACK's static table.
    scheme = b"\x86" if base.scheme == SCHEME else b"\x87"
    block = b"\x83" + scheme + b"".join(http2.literal(name, value) for name, value in headers.items())
    if len(block) > LARGEST_FRAME:
        raise PayloadError(f"path and headers take {len(block)} bytes; allowed: {LARGEST_FRAME}")
    return block


def _call(block: bytes, data: bytes) -> Call:
    contents = [data[at : at + LARGEST_FRAME] for at in range(0, len(data), LARGEST_FRAME)]
    flags = [0] * (len(contents) - 1) + [END_STREAM]
    pieces = [(http2.head(HEADERS, END_HEADERS, len(block)), block)]
    pieces += [
        (http2.head(DATA, flag, len(content)), content) for flag, content in zip(flags, contents, strict=True)
    ]
    return Call(tuple(pieces), len(data))


def require_grpc_url(url_base: str) -> None:
    """Make sure that `url_base` can be loaded over gRPC.

    Raises:
        AddressError: it is neither `grpc://HOST:PORT` nor `grpcs://HOST:PORT`.
    """
    try:
        base = urlsplit(url_base)
        allowed = (
            base.scheme in SCHEMES and bool(base.hostname) and bool(base.port) and base.path in ("", "/")
        )
    except ValueError:
        allowed = False
    if not allowed:
        raise AddressError(
            f"{url_base!r} is not an address to load over gRPC; allowed: grpc://HOST:PORT and grpcs://HOST:PORT"
        )


class GrpcConnection:
    """One HTTP/2 connection, and what both ends have agreed on."""

    def __init__(self, plain: Any) -> None:
        self.socket = plain
        self.read_ns = 0
        self.stream = 1
        self.is_last = False
        """Whether the server takes no further call on it."""
        self.window = FIRST_WINDOW
        """Bytes that may be sent before the server says more, on all streams; and at most on a new one:"""
        self.stream_window = FIRST_WINDOW
        self.extra_window = 0
        """What the server allows the present stream beyond that."""
        self._received = bytearray()
        self._taken = 0
        self._owed = b""
        self._decoder = Decoder()

    def read(self) -> None:
        """Settle, then read what there is, and the clock with it.

        Raises:
            OSError: nothing came in time, or the connection ended.
        """
        self.settle()
        data = self.socket.recv(READ_BYTES)
        self.read_ns = time.monotonic_ns()
        if not data:
            raise ConnectionClosedError("the server closed the connection")
        self._received += data

    def is_usable(self, look: Callable[[], bytes]) -> bool:
        """Return whether calls are taken on it; answer what the server sent meanwhile, such as a ping.

        `look` reads what there is without waiting and without letting anybody else run: nothing of a
        connection that was closed, and it raises where there is nothing yet.
        """
        try:
            while data := look():
                self._received += data
            return False  # closed by the server
        except (BlockingIOError, ssl.SSLWantReadError):
            pass
        except OSError:
            return False
        try:
            self.frames(self.stream)
            self.settle()
        except (OSError, NotGrpc):
            return False
        return not self.is_last

    def frames(self, stream: int) -> "deque[Frame]":
        """Take the whole frames of `stream`; see to all others, which are about the connection."""
        own_frames: deque[Frame] = deque()
        for frame in http2.take_frames(self._received):
            if frame.kind == WINDOW_UPDATE or frame.stream != stream:
                self._see_to(frame, stream)
            else:
                own_frames.append(frame)
                self._taken += len(frame.payload)
        if self._taken > LARGEST_WINDOW // 2:
            self._owed += http2.window_update(self._taken)
            self._taken = 0
        return own_frames

    def settle(self) -> None:
        """Send what the server is owed: that its settings and pings were received.

        Raises:
            OSError: the connection ended.
        """
        if self._owed:
            owed, self._owed = self._owed, b""
            self.socket.sendall(owed)

    def _see_to(self, frame: Frame, stream: int) -> None:
        if frame.kind == WINDOW_UPDATE:
            size = _number(frame.payload)
            if frame.stream == 0:
                self.window += size
            elif frame.stream == stream:
                self.extra_window += size
        elif frame.kind == SETTINGS and not frame.flags & ACK:
            self._agree(frame.payload)
        elif frame.kind == PING and not frame.flags & ACK:
            self._owed += http2.frame(PING, ACK, 0, frame.payload)
        elif frame.kind == GOAWAY:
            self.is_last = True
            if _number(frame.payload) < stream:
                raise ConnectionClosedError("the server takes no further calls on this connection")

    def _agree(self, payload: bytes) -> None:
        for at in range(0, len(payload) - 5, 6):
            name, value = struct.unpack_from("!HI", payload, at)
            if name == http2.INITIAL_WINDOW_SIZE:
                self.stream_window = value
        self._owed += http2.frame(SETTINGS, ACK, 0)

    def headers(self, block: bytes) -> dict[str, str]:
        """Unpack a block of headers.

        Raises:
            NotGrpc: it is none.
        """
        if not self._decoder.header_table.dynamic_entries and (cached := _KNOWN_BLOCKS.get(block)):
            return cached
        try:
            fields = {_str(name): _str(value) for name, value in self._decoder.decode(block)}
        except HPACKError as error:
            raise NotGrpc(f"its headers cannot be read: {error}") from error
        if not self._decoder.header_table.dynamic_entries and len(_KNOWN_BLOCKS) < KNOWN_BLOCKS_LIMIT:
            _KNOWN_BLOCKS[block] = fields
        return fields


KNOWN_BLOCKS_LIMIT: Final = 256
_KNOWN_BLOCKS: dict[bytes, dict[str, str]] = {}
"""Blocks that say the same on every connection, because no table is behind them."""


def exchange(connection: GrpcConnection, call: Call, greeting: bytes, frames: bytes) -> Answer:
    """Send `frames`, made of `call` for the connection's next stream, and read the whole answer.

    `greeting` goes first on a new connection. The answer's moment is before any unpacking.

    Raises:
        OSError, NotGrpc: see `failure_of`. Nothing is tried twice.
    """
    stream = connection.stream
    connection.stream += 2
    connection.extra_window = 0
    fits = call.data_bytes <= min(connection.window, connection.stream_window)
    incoming: deque[Frame] = deque()
    if fits:
        connection.socket.sendall(greeting + frames if greeting else frames)
        connection.window -= call.data_bytes
    else:
        incoming = _send_in_pieces(connection, call, stream, greeting)
    blocks: list[bytes] = []
    data: list[bytes] = []
    # A server that refuses ends the stream and may reset it after that, which says nothing more.
    while not any(_take(frame, blocks, data) for frame in incoming):
        connection.read()
        incoming = connection.frames(stream)
    return _answer(connection, blocks, b"".join(data))


def _send_in_pieces(connection: GrpcConnection, call: Call, stream: int, greeting: bytes) -> "deque[Frame]":
    """Send a call as fast as the server's windows let it; return what came of the answer meanwhile."""
    number = struct.pack("!I", stream)
    (head, block), *pieces = call.pieces
    connection.socket.sendall(greeting + head + number + block)
    incoming: deque[Frame] = deque()
    sent = 0
    for head, piece in pieces:
        while len(piece) > min(connection.window, connection.stream_window + connection.extra_window - sent):
            connection.read()
            incoming += connection.frames(stream)
            # A wider window holds once the server knows that we know of it.
            connection.settle()
            if any(frame.kind == RST_STREAM or _ends(frame) for frame in incoming):
                # Answered before it was all sent: the rest is not wanted, nor this connection any more.
                connection.is_last = True
                return incoming
        connection.socket.sendall(head + number + piece)
        connection.window -= len(piece)
        sent += len(piece)
    return incoming


def _ends(frame: Frame) -> bool:
    return frame.kind in (DATA, HEADERS) and bool(frame.flags & END_STREAM)


def _take(frame: Frame, blocks: list[bytes], data: list[bytes]) -> bool:
    """Keep what a frame of the answer carries; return whether it is the last.

    Raises:
        NotGrpc: the server gave the call up.
    """
    if frame.kind == RST_STREAM:
        raise NotGrpc(f"the server reset the call with HTTP/2's code {_number(frame.payload)}")
    if frame.kind == DATA:
        data.append(_unpadded(frame))
    elif frame.kind == HEADERS:
        blocks.append(_unpadded(frame))
    elif frame.kind == CONTINUATION:
        blocks[-1] += frame.payload
    if _ends(frame) and frame.kind == HEADERS and not frame.flags & END_HEADERS:
        raise NotGrpc("its trailers take more than one frame")
    return _ends(frame)


def _unpadded(frame: Frame) -> bytes:
    if not frame.flags & (PADDED | PRIORITY):
        return frame.payload
    begin, padding = 0, 0
    if frame.flags & PADDED:
        begin, padding = 1, frame.payload[0]
    if frame.kind == HEADERS and frame.flags & PRIORITY:
        begin += 5
    return frame.payload[begin : len(frame.payload) - padding]


def _answer(connection: GrpcConnection, blocks: list[bytes], data: bytes) -> Answer:
    """Read an answer from its blocks of headers and its data."""
    headers: dict[str, str] = {}
    for block in blocks:
        headers = {**headers, **connection.headers(block)}
    status, code = headers.get(":status", ""), headers.get("grpc-status", "")
    # A code counts whatever the status beside it: nginx refuses calls with 204 and a code.
    if code.isdecimal() and int(code) != GRPC_OK:
        return _refusal(int(code), unquote(headers.get("grpc-message", "")), connection.read_ns)
    if not code and status in OF_HTTP:
        page = " ".join(data.decode(errors="replace").split())
        return _refusal(OF_HTTP[status], f"HTTP status {status}: {page}".rstrip(": "), connection.read_ns)
    if status != str(HTTP_OK) or not headers.get("content-type", "").startswith("application/grpc"):
        raise NotGrpc(f"status {status or None}, content type {headers.get('content-type')}")
    if not code.isdecimal():
        raise NotGrpc("the answer ends without a grpc-status")
    if len(data) < PREFIX_BYTES or len(data) != PREFIX_BYTES + _number(data[1:]):
        raise NotGrpc(f"the answer's {len(data)} bytes are not one message")
    if data[0]:
        raise NotGrpc("the answer is compressed, which nobody asked for")
    return Answer(HTTP_OK, data[PREFIX_BYTES:], connection.read_ns, None)


def _refusal(code: int, message: str, read_ns: int) -> Answer:
    name, status = CODES.get(code, (f"code {code}", 500))
    return Answer(status, message.encode(), read_ns, Failure(f"grpc {name}", message[:200]))


def _number(payload: bytes) -> int:
    if len(payload) < 4:  # noqa: PLR2004 - a 32-bit number
        raise NotGrpc("a frame is shorter than what it should hold")
    return int.from_bytes(payload[:4], "big") & LARGEST_WINDOW


def _str(text: Any) -> str:
    return text.decode("latin-1") if isinstance(text, bytes) else str(text)

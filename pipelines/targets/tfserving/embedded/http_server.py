"""HTTP/1.0 and 1.1 on an event loop: parsing, keep-alive, pipelining, limits and draining.

Knows nothing of models.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from email.utils import formatdate
from http import HTTPStatus
from typing import Protocol, cast

import httptools

from .rest import JSON, Request, Response, html_page
from .workers import Workers

_METHODS = frozenset({"GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PATCH"})
_REASONS = {status.value: status.phrase for status in HTTPStatus}
_MAX_HEAD_BYTES = 64 * 1024
_MAX_WAITING = 64
_CORS = (
    b"Access-Control-Allow-Origin: *\r\nAccess-Control-Allow-Methods: POST, GET\r\n"
    b"Access-Control-Allow-Headers: Content-Type\r\n"
)


class Api(Protocol):
    """What answers the requests."""

    def is_quick(self, request: Request) -> bool:
        """Whether a request may be answered on the event loop."""

    def handle(self, request: Request, quick: bool = False) -> Response:
        """Answer a request without raising."""


class HttpServer:
    """What the connections of one server share."""

    def __init__(self, api: Api, workers: Workers, max_body_bytes: int, cors: bool = False) -> None:
        self.api = api
        self.workers = workers
        self.max_body_bytes = max_body_bytes
        self.cors = cors
        self.draining = False
        self.loop = asyncio.get_running_loop()
        self.connections: set[Connection] = set()
        self._date_second = 0
        self._date = b""

    def date(self) -> bytes:
        """The Date header's value, made once per second."""
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
        while any(connection.is_busy for connection in self.connections) and self.loop.time() < end:
            await asyncio.sleep(0.01)
        done = not any(connection.is_busy for connection in self.connections)
        for connection in list(self.connections):
            connection.abort()
        return done


class Connection(asyncio.Protocol):
    """One client. Requests are answered one at a time in the order they came, as HTTP asks."""

    def __init__(self, server: HttpServer) -> None:
        self._server = server
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._waiting: deque[tuple[Request, bool, bool]] = deque()
        self.is_busy = False
        self._failed = False
        self._closed = False
        self._paused = False
        self._reset()

    def _reset(self) -> None:
        self._url = b""
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._head_bytes = 0
        self._in_head = True
        self._gzipped = self._origin = self._expects = False

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client connected."""
        self._transport = cast(asyncio.Transport, transport)
        self._server.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """The client went away; what it still asks is not computed."""
        self._closed = True
        self._waiting.clear()
        self._server.connections.discard(self)

    def data_received(self, data: bytes) -> None:
        """Feed the parser; its callbacks below collect the requests."""
        if self._failed:
            return
        self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserInvalidMethodError:
            self._refuse(html_page(501))
        except httptools.HttpParserUpgrade:
            self._failed = True  # the request itself was taken; what follows is no HTTP/1
        except httptools.HttpParserError:
            self._refuse(html_page(400))
        if self._in_head and self._head_bytes > _MAX_HEAD_BYTES + len(data):
            self._refuse(html_page(400))
        self._answer_waiting()

    def pause_writing(self) -> None:
        """The client does not read its answers: take no more requests from it."""
        self._pause_reading()

    def resume_writing(self) -> None:
        """The client reads again."""
        self._resume_reading()

    # httptools callbacks

    def on_message_begin(self) -> None:
        """A request begins."""
        self._reset()

    def on_url(self, url: bytes) -> None:
        """A part of the request's target."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header; only three of them matter."""
        key = name.lower()
        if key == b"content-encoding":
            self._gzipped = b"gzip" in value.lower()
        elif key == b"origin":
            self._origin = bool(value)
        elif key == b"expect":
            self._expects = value.lower() == b"100-continue"
        elif key == b"content-length" and value.isdigit() and int(value) > self._server.max_body_bytes:
            self._body_bytes = int(value)

    def on_headers_complete(self) -> None:
        """All headers were read."""
        self._in_head = False
        if self._body_bytes > self._server.max_body_bytes:
            self._refuse_large()
        elif self._expects and self._transport:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        self._body_bytes += len(body)
        if self._failed:
            return
        if self._body_bytes > self._server.max_body_bytes:
            self._refuse_large()
            return
        self._body.append(body)

    def on_message_complete(self) -> None:
        """A whole request is there."""
        if self._failed:
            return
        method = self._parser.get_method().decode("ascii")
        path = self._url.partition(b"?")[0].partition(b"#")[0].decode("latin-1")
        if not path.startswith("/"):  # absolute form, as sent to a proxy
            path = "/" + path.partition("://")[2].partition("/")[2]
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        request = Request(method, path, body, self._gzipped, self._origin)
        old = self._parser.get_http_version() == "1.0"
        self._waiting.append((request, self._parser.should_keep_alive(), old))
        self._reset()
        if len(self._waiting) >= _MAX_WAITING:
            self._pause_reading()

    # answering

    def _answer_waiting(self) -> None:
        while self._waiting and not self.is_busy and not self._closed:
            request, keep_alive, old = self._waiting.popleft()
            if request.method not in _METHODS:
                self._write(html_page(501), request, keep_alive, old)
            elif self._server.draining:
                self._write(_shutting_down(), request, keep_alive, old)
            elif self._server.api.is_quick(request):
                self._write(self._server.api.handle(request, quick=True), request, keep_alive, old)
            else:
                self.is_busy = True
                self._server.workers.submit(self._job(request, keep_alive, old))
        if self._paused and len(self._waiting) < _MAX_WAITING // 2:
            self._resume_reading()

    def _job(self, request: Request, keep_alive: bool, old: bool) -> Callable[[], None]:
        def answer() -> None:
            if self._closed:  # nobody is there any more to read it
                return
            response = self._server.api.handle(request)
            self._server.loop.call_soon_threadsafe(self._finish, response, request, keep_alive, old)

        return answer

    def _finish(self, response: Response, request: Request, keep_alive: bool, old: bool) -> None:
        self.is_busy = False
        if not self._closed:
            self._write(response, request, keep_alive, old)
            self._answer_waiting()

    def _write(self, response: Response, request: Request, keep_alive: bool, old: bool) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        keep_alive = keep_alive and not self._server.draining and not self._failed
        extra = b""
        if not keep_alive:
            extra = b"Connection: close\r\n"
        elif old:
            extra = b"Connection: keep-alive\r\n"
        if self._server.cors and request.origin:
            extra += _CORS
        head = b"HTTP/1.1 %d %b\r\nContent-Type: %b\r\nDate: %b\r\nContent-Length: %d\r\n%b\r\n" % (
            response.status,
            _REASONS.get(response.status, "Unknown").encode("ascii"),
            response.content_type,
            self._server.date(),
            len(response.body),
            extra,
        )
        self._transport.write(head if request.method == "HEAD" else head + response.body)
        if not keep_alive:
            self._waiting.clear()
            self._transport.close()

    def _refuse(self, response: Response) -> None:
        """Answer something that is no proper request, after those that came before it, and hang up."""
        if not self._failed:
            self._failed = True
            self._pause_reading()
            self._server.loop.call_soon(self._hang_up, response)

    def _hang_up(self, response: Response) -> None:
        if self.is_busy or self._waiting:
            self._server.loop.call_later(0.01, self._hang_up, response)
        elif not self._closed:
            self._write(response, Request("GET", ""), keep_alive=False, old=False)

    def _refuse_large(self) -> None:
        body = b'{\n    "error": "The body is larger than %d bytes"\n}' % self._server.max_body_bytes
        self._refuse(Response(413, JSON, body))

    def close_if_idle(self) -> None:
        """Hang up on a client that is not waiting for anything."""
        if not self.is_busy and not self._waiting and self._transport:
            self._transport.close()

    def abort(self) -> None:
        """Hang up at once."""
        if self._transport:
            self._transport.close() if not self.is_busy else self._transport.abort()

    def _pause_reading(self) -> None:
        if not self._paused and self._transport and not self._transport.is_closing():
            self._paused = True
            self._transport.pause_reading()

    def _resume_reading(self) -> None:
        if self._paused and not self._failed and self._transport and not self._transport.is_closing():
            self._paused = False
            self._transport.resume_reading()


def _shutting_down() -> Response:
    return Response(503, JSON, b'{\n    "error": "The server is shutting down"\n}')

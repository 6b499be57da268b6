"""One HTTP client: keep-alive, pipelining, turns, time-outs and hanging up. Knows nothing of models."""

import asyncio
from collections import deque
from collections.abc import Callable
from http import HTTPStatus
from typing import cast

from .budget import Allowance
from .http_parser import Parsed, Refusal, RequestParser
from .http_server import HttpServer
from .rest import JSON, Request, Response, html_page

_METHODS = frozenset({"GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PATCH"})
_REASONS = {status.value: status.phrase for status in HTTPStatus}
_MAX_WAITING = 64
# Parsed at once, so that a client's many small requests are not all taken before others have their turn.
_PIECE_BYTES = 64 * 1024
# For so long the rest of a refused request is read and dropped: hanging up on bytes nobody has read would
# reset the connection, and the client might never see why it was refused.
_LINGER_S = 10.0
_CORS = (
    b"Access-Control-Allow-Origin: *\r\nAccess-Control-Allow-Methods: POST, GET\r\n"
    b"Access-Control-Allow-Headers: Content-Type\r\n"
)


class Connection(asyncio.Protocol):
    """One client. Requests are answered one at a time in the order they came, as HTTP asks.

    After each answer the other connections have their turn.
    """

    def __init__(self, server: HttpServer) -> None:
        self._server = server
        self._transport: asyncio.Transport | None = None
        self._parser = RequestParser(
            server.limits.max_body_bytes, server.budget, self._take, self._say_continue
        )
        self._waiting: deque[Parsed] = deque()
        self._unread: deque[memoryview] = deque()
        self._refused: Response | None = None
        self._allowance: Allowance | None = None
        self._is_busy = self._has_turn = False
        self._closed = self._ended = self._paused = self._is_clogged = self._is_lingering = False
        self._unsent_bytes = 0
        # When the client last sent or read something, and when the request that is not complete began.
        self.active_s = self._began_s = server.loop.time()

    @property
    def is_pending(self) -> bool:
        """Whether the client waits for an answer, or for the rest of one."""
        is_sending = self._transport is not None and self._transport.get_write_buffer_size() > 0
        return self._owes_answer or is_sending

    @property
    def _owes_answer(self) -> bool:
        return self._is_busy or bool(self._waiting) or self._refused is not None

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Admit a client that connected, or tell it that the server is busy."""
        self._transport = cast(asyncio.Transport, transport)
        if not self._server.admit(self):
            self._write(_busy(), Parsed(Request("GET", ""), keep_alive=False, is_old=False))

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """Drop a client that went away; what it still asked for is not computed."""
        self._closed = True
        for parsed in self._waiting:
            _close(parsed.request.allowance)
        self._waiting.clear()
        self._unread.clear()
        self._parser.close()
        self._release()
        self._server.connections.discard(self)

    def data_received(self, data: bytes) -> None:
        """Parse what came, as far as there is room for requests."""
        if self._is_lingering:
            return
        self.active_s = self._server.loop.time()
        if not self._parser.is_inside:
            self._began_s = self.active_s
        if len(data) <= _PIECE_BYTES and not self._unread:
            self._parse(data)
        else:
            view = memoryview(data)
            self._unread.extend(view[at : at + _PIECE_BYTES] for at in range(0, len(data), _PIECE_BYTES))
            self._parse_unread()
        self._answer_next()

    def eof_received(self) -> bool:
        """Note that the client sends no more; it still gets the answers it waits for."""
        self._ended = True
        return self._owes_answer or bool(self._unread)

    def pause_writing(self) -> None:
        """Take and answer no more requests of a client that does not read its answers."""
        self._is_clogged = True
        self.active_s = self._server.loop.time()
        self._pause_reading()

    def resume_writing(self) -> None:
        """Go on with a client that reads again."""
        self._is_clogged = False
        self._release()
        self._answer_next()

    # parsing

    def _parse(self, data: bytes | memoryview) -> None:
        if self._refused is not None or self._parser.is_over:
            return
        try:
            self._parser.feed(data)
        except Refusal as refusal:
            self._refused = refusal.response
            self._unread.clear()
            self._parser.close()
            self._pause_reading()

    def _parse_unread(self) -> None:
        while self._unread and len(self._waiting) < _MAX_WAITING:
            self._parse(self._unread.popleft())

    def _take(self, parsed: Parsed) -> None:
        self._waiting.append(parsed)
        if len(self._waiting) >= _MAX_WAITING:
            self._pause_reading()

    def _say_continue(self) -> None:
        if self._transport:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    # answering

    def _answer_next(self) -> None:
        """Answer one request, and ask for another turn if there are more."""
        if self._is_busy or self._has_turn or self._is_clogged or self._closed:
            return
        if self._waiting:
            self._answer(self._waiting.popleft())
        if self._waiting or self._unread:
            if not self._is_busy:
                self._has_turn = True
                self._server.loop.call_soon(self._turn)
        elif not self._is_busy:
            self._finish_if_last()
        if self._paused and len(self._waiting) < _MAX_WAITING // 2 and not self._unread:
            self._resume_reading()

    def _turn(self) -> None:
        self._has_turn = False
        self._parse_unread()
        self._answer_next()

    def _answer(self, parsed: Parsed) -> None:
        request = parsed.request
        if request.method not in _METHODS:
            self._write(html_page(501), parsed)
        elif self._server.draining:
            self._write(_shutting_down(), parsed)
        elif self._server.api.is_quick(request):
            self._write(self._server.api.handle(request, quick=True), parsed)
        else:
            self._is_busy = True
            self._server.workers.submit(self._job(parsed))

    def _job(self, parsed: Parsed) -> Callable[[], None]:
        def answer() -> None:
            if self._closed:  # no client is left to read it
                _close(parsed.request.allowance)
                return
            response = self._server.api.handle(parsed.request)
            self._server.loop.call_soon_threadsafe(self._finish, response, parsed)

        return answer

    def _finish(self, response: Response, parsed: Parsed) -> None:
        self._is_busy = False
        if self._closed:
            _close(response.allowance)
        else:
            self._write(response, parsed)
            self._answer_next()

    def _finish_if_last(self) -> None:
        """Answer what was refused, and close on a client that has ended, once nothing is left to answer."""
        if self._refused is not None:
            refused, self._refused = self._refused, None
            self._parser.is_over = True
            self._write(refused, Parsed(Request("GET", ""), keep_alive=False, is_old=False), lingers=True)
        elif self._ended and self._transport:
            self._transport.close()

    def _write(self, response: Response, parsed: Parsed, lingers: bool = False) -> None:
        if self._transport is None or self._transport.is_closing():
            _close(response.allowance or parsed.request.allowance)
            return
        self.active_s = self._server.loop.time()
        is_last = self._parser.is_over and not self._waiting
        keep_alive = parsed.keep_alive and not self._server.draining and not is_last
        head = self._head(response, parsed, keep_alive)
        self._transport.write(head if parsed.request.method == "HEAD" else head + response.body)
        if response.allowance is not None or parsed.request.allowance is not None:
            self._hold(response.allowance or parsed.request.allowance)
        if not keep_alive:
            self._waiting.clear()
            self._unread.clear()
            if lingers and not self._ended:
                self._linger()
            else:
                self._transport.close()

    def _linger(self) -> None:
        """Send no more, and drop what still comes until the client ends or the time is over."""
        if self._transport is not None:
            self._is_lingering = True
            self._transport.write_eof()
            self._resume_reading()
            self._server.loop.call_later(_LINGER_S, self._transport.abort)

    def _head(self, response: Response, parsed: Parsed, keep_alive: bool) -> bytes:
        extra = b""
        if not keep_alive:
            extra = b"Connection: close\r\n"
        elif parsed.is_old:
            extra = b"Connection: keep-alive\r\n"
        if self._server.cors and parsed.request.origin:
            extra += _CORS
        return b"HTTP/1.1 %d %b\r\nContent-Type: %b\r\nDate: %b\r\nContent-Length: %d\r\n%b\r\n" % (
            response.status,
            _REASONS.get(response.status, "Unknown").encode("ascii"),
            response.content_type,
            self._server.date(),
            len(response.body),
            extra,
        )

    def _hold(self, allowance: Allowance | None) -> None:
        """Keep an answer's memory counted until it was sent."""
        if allowance is None or not allowance.is_counted:
            return
        if self._transport is not None and self._transport.get_write_buffer_size() > 0:
            self._allowance = allowance
        else:
            allowance.close()

    def _release(self) -> None:
        _close(self._allowance)
        self._allowance = None

    # ending

    def end_if_stalled(self, now_s: float, longest_s: float) -> None:
        """Hang up on a client that neither sends nor reads: with a word if it has sent half a request."""
        if self._transport is None or self._is_busy or self._waiting or self._has_turn:
            return
        unsent = self._transport.get_write_buffer_size()
        if unsent:
            if unsent != self._unsent_bytes:
                self._unsent_bytes, self.active_s = unsent, now_s
            if now_s - self.active_s > longest_s:
                self._transport.abort()
            return
        since_s = self.active_s
        if self._parser.is_inside and self._parser.is_in_head:
            since_s = self._began_s  # a head is short: it gets the time as a whole
        if now_s - since_s > longest_s:
            self._time_out()

    def _time_out(self) -> None:
        if self._parser.is_inside:
            self._parser.close()
            self._parser.is_over = True
            self._write(_too_slow(), Parsed(Request("GET", ""), keep_alive=False, is_old=False))
        elif self._transport:
            self._transport.close()

    def close_if_idle(self) -> None:
        """Hang up on a client that is not waiting for anything."""
        if not self.is_pending and self._transport:
            self._transport.close()

    def abort(self) -> None:
        """Hang up at once, whatever was not sent."""
        if self._transport:
            self._transport.abort()

    def _pause_reading(self) -> None:
        if not self._paused and self._transport and not self._transport.is_closing():
            self._paused = True
            self._transport.pause_reading()

    def _resume_reading(self) -> None:
        if (
            self._paused
            and self._refused is None
            and not self._is_clogged
            and self._transport
            and not self._transport.is_closing()
        ):
            self._paused = False
            self._transport.resume_reading()


def _close(allowance: Allowance | None) -> None:
    if allowance is not None:
        allowance.close()


def _shutting_down() -> Response:
    return Response(503, JSON, b'{\n    "error": "The server is shutting down"\n}')


def _busy() -> Response:
    return Response(503, JSON, b'{\n    "error": "All connections are busy; try again later"\n}')


def _too_slow() -> Response:
    return Response(408, JSON, b'{\n    "error": "The rest of the request did not come in time"\n}')

"""HTTP/1.0 and 1.1 requests out of a client's bytes: one at a time, within limits. Knows no sockets."""

from collections.abc import Callable
from typing import NamedTuple

import httptools

from .budget import Allowance, Budget
from .rest import JSON, Request, Response, error_response, html_page
from .status import ServingError

MAX_HEAD_BYTES = 64 * 1024
_BODY_OPENS_ALLOWANCE_BYTES = 64 * 1024


class Parsed(NamedTuple):
    """A request, whether its client wants to keep the connection, and whether it speaks HTTP/1.0."""

    request: Request
    keep_alive: bool
    is_old: bool


class Refusal(Exception):  # noqa: N818  an answer, not an error of ours
    """What came is no request that can be taken; the answer says why."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.status)
        self.response = response


class RequestParser:
    """Feed it bytes; it hands whole requests to `done`, and calls `expected` where a client waits for a word.

    `feed` raises Refusal, and nothing may be fed after that.
    """

    def __init__(
        self,
        max_body_bytes: int,
        budget: Budget,
        done: Callable[[Parsed], None],
        expected: Callable[[], None],
    ) -> None:
        self._max_body_bytes = max_body_bytes
        self._budget = budget
        self._done = done
        self._expected = expected
        self._parser = httptools.HttpRequestParser(self)
        self._refusal: Response | None = None
        self.is_over = False
        self.allowance: Allowance | None = None
        self._reset()
        self.is_inside = False

    def _reset(self) -> None:
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._body: list[bytes] = []
        self._body_bytes = 0
        # Bytes since the request began or its body last grew: a head, a chunk's extension, trailers.
        self._overhead_bytes = 0
        self.is_in_head = True
        self._upgrading = False
        self._gzipped = self._origin = self._expects = False

    def feed(self, data: bytes | memoryview) -> None:
        """Parse some bytes."""
        size = len(data)
        self._overhead_bytes += size
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._go_on(data[upgrade.args[0] :])
        except httptools.HttpParserInvalidMethodError:
            self._refuse(html_page(501))
        except httptools.HttpParserError:
            self._refuse(html_page(400))
        if self.is_inside and self._overhead_bytes > MAX_HEAD_BYTES + size:
            self._refuse(html_page(400))
        if self._refusal is not None:
            raise Refusal(self._refusal)

    def _go_on(self, rest: bytes | memoryview) -> None:
        """Read the request again without its offer to upgrade, which is not taken, and then its body."""
        if not self._upgrading:
            self.is_over = True  # CONNECT: the request itself was taken; what follows is no HTTP/1
            return
        method, version = self._parser.get_method(), self._parser.get_http_version().encode("ascii")
        lines = [b"%b %b HTTP/%b" % (method, self._url, version)]
        lines += [b"%b: %b" % header for header in map(_without_offer, self._headers) if header[0]]
        self._parser = httptools.HttpRequestParser(self)
        self.feed(b"\r\n".join([*lines, b"", b""]))
        self.feed(rest)

    def _refuse(self, response: Response) -> None:
        if self._refusal is None:
            self._refusal = response

    # httptools callbacks

    def on_message_begin(self) -> None:
        """Start a request."""
        self._reset()
        self.is_inside = True

    def on_url(self, url: bytes) -> None:
        """Add a part of the request's target."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take one header or, after the body, a trailer, of which none matters."""
        if not self.is_in_head:
            return
        self._headers.append((name, value))
        key = name.lower()
        if key == b"content-encoding":
            self._gzipped = b"gzip" in value.lower()
        elif key == b"origin":
            self._origin = bool(value)
        elif key == b"expect":
            self._expects = value.lower() == b"100-continue"
        elif key == b"content-length" and value.isdigit():
            self._body_bytes = int(value[-20:])

    def on_headers_complete(self) -> None:
        """Decide what to do with the body, now that all headers were read."""
        self.is_in_head = False
        self._upgrading = self._parser.should_upgrade() and self._parser.get_method() != b"CONNECT"
        if self._body_bytes > self._max_body_bytes:
            self._refuse_large()
        elif self._expects and not self._upgrading:
            self._expected()
        self._body_bytes = 0

    def on_body(self, body: bytes) -> None:
        """Add a part of the body, unless it is refused."""
        self._body_bytes += len(body)
        self._overhead_bytes = 0
        if self._refusal is not None:
            return
        if self._body_bytes > self._max_body_bytes:
            self._refuse_large()
        elif self._body_bytes <= _BODY_OPENS_ALLOWANCE_BYTES or self._is_allowed(len(body)):
            self._body.append(body)

    def _is_allowed(self, count: int) -> bool:
        """Count a body's bytes twice: in pieces, and joined."""
        if self.allowance is None:
            self.allowance = self._budget.open()
        try:
            self.allowance.take(2 * count)
        except ServingError as error:
            self.close()
            self._refuse(error_response(error))
        return self.allowance is not None

    def on_message_complete(self) -> None:
        """Hand over a whole request."""
        if self._refusal is not None or self._upgrading:
            return
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        method = self._parser.get_method().decode("ascii")
        allowance, self.allowance = self.allowance, None
        request = Request(method, _path(self._url), body, self._gzipped, self._origin, allowance)
        is_old = self._parser.get_http_version() == "1.0"
        keep_alive = self._parser.should_keep_alive()
        self._reset()
        self.is_inside = False
        self._done(Parsed(request, keep_alive, is_old))

    def _refuse_large(self) -> None:
        body = b'{\n    "error": "The body is larger than %d bytes"\n}' % self._max_body_bytes
        self._refuse(Response(413, JSON, body))

    def close(self) -> None:
        """Let go of a request that will not be finished."""
        self._body = []
        if self.allowance is not None:
            self.allowance.close()
            self.allowance = None


def _path(url: bytes) -> str:
    """Return the path of a request's target, without query and fragment."""
    path = url.partition(b"?")[0].partition(b"#")[0].decode("latin-1")
    if not path.startswith("/"):  # absolute form, as sent to a proxy
        path = "/" + path.partition("://")[2].partition("/")[2]
    return path


def _without_offer(header: tuple[bytes, bytes]) -> tuple[bytes, bytes]:
    """Return a header without its offer to upgrade; its name is empty if nothing is left of it."""
    name, value = header
    key = name.lower()
    if key == b"upgrade":
        return b"", b""
    if key == b"connection":
        options = [option.strip() for option in value.split(b",")]
        allowed = [option for option in options if option.lower() in (b"close", b"keep-alive")]
        return (name, b", ".join(allowed)) if allowed else (b"", b"")
    return header

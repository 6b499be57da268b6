"""HTTP with as little as possible between the clock and the wire: requests are bytes made beforehand."""

import socket
import ssl
import struct
import time
import zlib
from contextlib import suppress
from typing import Any, Final
from urllib.parse import urlsplit

import gevent.socket  # type: ignore[import-untyped]
import gevent.ssl  # type: ignore[import-untyped]
from geventhttpclient._parser import HTTPParseError
from geventhttpclient.connectionpool import ConnectionPool
from geventhttpclient.response import HTTPConnectionClosed, HTTPSocketPoolResponse

from loadtests.errors import AddressError, PayloadError
from loadtests.ledger import SOCKET_KINDS, Answer, Failure, name_failure
from loadtests.payloads import PayloadPool

READ_BYTES: Final = 65536
PORTS: Final = {"http": 80, "https": 443}
LARGEST_BODY_BYTES: Final = 2**28


class EncodedAnswer(Exception):  # noqa: N818 - a failure to count, not an error to mend
    """An answer was encoded in a way that nobody asked for and that cannot be undone."""


WIRE_FAILURES: Final = (OSError, HTTPParseError, EncodedAnswer)
"""Everything that `Wire.exchange` raises because of the server or the network."""


def encode_requests(pool: PayloadPool, url_base: str) -> tuple[bytes, ...]:
    """Return for each body of `pool` the whole HTTP/1.1 request to send to `url_base`.

    Raises:
        PayloadError: a header or the path would break the request in two.
    """
    base = urlsplit(url_base)
    lines = [f"{pool.method} {base.path.rstrip('/')}{pool.path} HTTP/1.1", f"Host: {base.netloc}"]
    lines += [f"{name}: {value}" for name, value in pool.headers.items()]
    if any(not line.isprintable() for line in lines):
        raise PayloadError("a path or a header holds a line break or another control character")
    head = "\r\n".join(lines).encode("latin-1")
    return tuple(head + b"\r\nContent-Length: %d\r\n\r\n" % len(body) + body for body in pool.bodies)


def require_url(url_base: str) -> None:
    """Make sure that `url_base` can be loaded.

    Raises:
        AddressError: it has no scheme, another one than http and https, or no host.
    """
    try:
        base = urlsplit(url_base)
        allowed = base.scheme in PORTS and bool(base.hostname) and base.port != 0
    except ValueError:
        allowed = False
    if not allowed:
        raise AddressError(
            f"{url_base!r} is not an address to load; allowed: http://HOST:PORT or https://HOST:PORT"
        )


def tls_context(*, ca_file: str | None = None, insecure: bool = False) -> Any:
    """Return a TLS context that trusts `ca_file` or the machine's authorities, or, if insecure, anyone.

    Raises:
        AddressError: `ca_file` cannot be read.
    """
    # Of gevent's own kind, whether or not this process's ssl is.
    context = gevent.ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        if ca_file is None:
            context.load_default_certs()
        else:
            context.load_verify_locations(ca_file)
    except OSError as error:
        raise AddressError(f"cannot read certificates from {ca_file}: {error.strerror or error}") from error
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    context.sslsocket_class = TlsConnection
    return context


def reset_when_closed(connection: Any) -> None:
    """Let closing end a connection at once, for both sides.

    An orderly end waits for a server that does not answer, for minutes, and each of them holds one of this
    machine's ports: an overloaded server would use them up.
    """
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class _Timed:
    """Remembers when it was last read from, over whichever socket it is mixed into."""

    read_ns = 0

    def recv(self, *arguments: int) -> bytes:
        """Read what there is, and the clock with it."""
        try:
            data: bytes = super().recv(*arguments)  # type: ignore[misc]
        except TimeoutError:
            reset_when_closed(self)
            raise
        self.read_ns = time.monotonic_ns()
        return data


class Connection(_Timed, gevent.socket.socket):  # type: ignore[misc]
    """A connection that remembers when it was last read from."""


class TlsConnection(_Timed, gevent.ssl.SSLSocket):  # type: ignore[misc]
    """The same, encrypted."""


class Wire:
    """HTTP's kept-alive connections to one server.

    Args:
        url_base: `http://HOST:PORT`, or `https://HOST:PORT`.
        timeout_s: how long to wait for a connection, and for the next bytes of an answer.
        concurrency: connections at the same time; a further request waits for a free one.
        tls: of `tls_context`, for https; None for the machine's own certificates.

    Raises:
        AddressError: see `require_url`.
    """

    failures = WIRE_FAILURES
    encode = staticmethod(encode_requests)
    require_url = staticmethod(require_url)

    def __init__(self, url_base: str, *, timeout_s: float, concurrency: int, tls: Any = None) -> None:
        require_url(url_base)
        base = urlsplit(url_base)
        host, port = base.hostname or "", base.port or PORTS[base.scheme]
        kind = _Connections if base.scheme == "http" else _TlsConnections
        self._pool = kind(
            host, port, host, port, size=concurrency, connection_timeout=timeout_s, network_timeout=timeout_s
        )
        self._pool.tls = tls or (tls_context() if base.scheme == "https" else None)

    def idle_connection(self) -> Connection | None:
        """Take a kept-alive connection for the next request; None when it will need a new one."""
        return self._pool.take_idle()

    def give_back(self, connection: Connection | None) -> None:
        """Put back a connection that was not used after all."""
        if connection is not None:
            self._pool.return_socket(connection)

    @staticmethod
    def ready(request: bytes, connection: Connection | None) -> bytes:  # noqa: ARG004 - the same on all of them
        """Return a request as it goes over `connection`, or over a new one."""
        return request

    def exchange(self, request: bytes, connection: Connection | None) -> Answer:
        """Send what `ready` made, and read the whole answer; its moment is before any parsing.

        Raises:
            OSError, HTTPParseError, EncodedAnswer: see `failure_of`. Nothing is tried twice.
        """
        if connection is None:
            connection = self._pool.get_socket()
        try:
            connection.sendall(request)
        except BaseException:
            self._pool.release_socket(connection)
            raise
        answer = HTTPSocketPoolResponse(connection, self._pool, block_size=READ_BYTES)
        body = answer.read()
        done_ns = connection.read_ns
        encoding = answer.get("content-encoding")
        return Answer(answer.get_code(), decoded(body, encoding) if encoding else body, done_ns, None)

    def close(self) -> None:
        """Close the idle connections."""
        self._pool.close()

    @staticmethod
    def failure_of(error: BaseException) -> Failure:
        """Name what went wrong on the wire."""
        return failure_of(error)


class _Connections(ConnectionPool):  # type: ignore[misc]
    """A connection pool that neither delays a request nor lets another greenlet run inside the timed span."""

    _addresses: list[Any] | None = None
    tls: Any = None

    def take_idle(self) -> Connection | None:
        """Take a connection that is there and alive, as `get_socket` does, but make none."""
        while not self._socket_queue.empty():
            connection: Connection = self._socket_queue.get(block=False)
            if self._is_socket_alive(connection):
                self._semaphore.acquire()
                return connection
            connection.close()
        return None

    def _resolve(self) -> list[Any]:
        # A look-up goes through gevent's thread pool, for a number too; once is enough.
        if self._addresses is None:
            self._addresses = super()._resolve()
        return self._addresses

    def _create_tcp_socket(self, family: int, kind: int, protocol: int) -> Connection:
        return Connection(family, kind, protocol)

    def after_connect(self, connection: Any) -> None:
        # A body longer than one segment would otherwise wait for the server's delayed acknowledgement.
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def _is_socket_alive(self, connection: Any) -> bool:
        # The original asks gevent's select(), which yields to other greenlets and knows 1024 files only.
        try:
            connection._sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False  # closed by the server, or bytes that nobody asked for


class _TlsConnections(_Connections):
    """The same, encrypted: the handshake belongs to making a connection."""

    def _connect_socket(self, connection: Any, address: Any) -> TlsConnection:
        plain = super()._connect_socket(connection, address)
        encrypted: TlsConnection = self.tls.wrap_socket(plain, server_hostname=self._request_host)
        return encrypted

    def _is_socket_alive(self, connection: Any) -> bool:
        # What waits may be of the protocol's own, such as a ticket: only TLS can tell.
        try:
            connection._sslobj.read(1)
        except ssl.SSLWantReadError:
            return True
        except (OSError, ValueError):
            return False
        return False


def decoded(body: bytes, encoding: Any) -> bytes:
    """Decode the body of an answer that was encoded although nobody asked for that.

    Raises:
        EncodedAnswer: it cannot be decoded.
    """
    name = str(encoding).strip().lower()
    if name == "identity":
        return body
    if name not in ("gzip", "x-gzip", "deflate"):
        raise EncodedAnswer(f"Content-Encoding: {encoding}, which nobody asked for")
    unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
    try:
        content = unpacker.decompress(body, LARGEST_BODY_BYTES)
    except zlib.error as error:
        raise EncodedAnswer(f"Content-Encoding: {encoding}, which it is not: {error}") from error
    if not unpacker.eof:
        raise EncodedAnswer(f"Content-Encoding: {encoding}, which ends too early or is too large")
    return content


_KINDS: Final = (
    (EncodedAnswer, "encoded answer"),
    (HTTPConnectionClosed, "closed"),
    (HTTPParseError, "not HTTP"),
    *SOCKET_KINDS,
)


def failure_of(error: BaseException) -> Failure:
    """Name what went wrong on the wire."""
    return name_failure(error, _KINDS)

"""HTTP with as little as possible between the clock and the wire: requests are bytes made beforehand."""

import socket
import time
from typing import Any, Final
from urllib.parse import urlsplit

import gevent.socket  # type: ignore[import-untyped]
from geventhttpclient._parser import HTTPParseError
from geventhttpclient.connectionpool import ConnectionPool
from geventhttpclient.response import HTTPConnectionClosed, HTTPSocketPoolResponse

from loadtests.errors import PayloadError
from loadtests.ledger import Failure
from loadtests.payloads import PayloadPool

READ_BYTES: Final = 65536
WIRE_FAILURES: Final = (OSError, HTTPParseError)
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


class Connection(gevent.socket.socket):  # type: ignore[misc]
    """A connection that remembers when it was last read from."""

    read_ns = 0

    def recv(self, *arguments: int) -> bytes:
        """Read what there is, and the clock with it."""
        data: bytes = super().recv(*arguments)
        self.read_ns = time.monotonic_ns()
        return data


class Wire:
    """Kept-alive connections to one server.

    Args:
        url_base: `http://HOST:PORT`.
        timeout_s: how long to wait for a connection, and for the next bytes of an answer.
        concurrency: connections at the same time; a further request waits for a free one.
    """

    def __init__(self, url_base: str, *, timeout_s: float, concurrency: int) -> None:
        base = urlsplit(url_base)
        host, port = base.hostname or "", base.port or 80
        self._pool = _Connections(
            host, port, host, port, size=concurrency, connection_timeout=timeout_s, network_timeout=timeout_s
        )

    def idle_connection(self) -> Connection | None:
        """Take a kept-alive connection for the next request; None when it will need a new one."""
        return self._pool.take_idle()

    def give_back(self, connection: Connection | None) -> None:
        """Put back a connection that was not used after all."""
        if connection is not None:
            self._pool.return_socket(connection)

    def exchange(self, request: bytes, method: str, connection: Connection | None) -> tuple[int, bytes, int]:
        """Send `request`, read the whole answer, and return its status, its body and when its last byte came.

        The moment is in monotonic nanoseconds and before any parsing.

        Raises:
            OSError, HTTPParseError: see `failure_of`. Nothing is tried twice.
        """
        if connection is None:
            connection = self._pool.get_socket()
        try:
            connection.sendall(request)
        except BaseException:
            self._pool.release_socket(connection)
            raise
        answer = HTTPSocketPoolResponse(connection, self._pool, block_size=READ_BYTES, method=method)
        body = answer.read()
        return answer.get_code(), body, connection.read_ns

    def close(self) -> None:
        """Close the idle connections."""
        self._pool.close()


class _Connections(ConnectionPool):  # type: ignore[misc]
    """A connection pool that neither delays a request nor lets another greenlet run inside the timed span."""

    _addresses: list[Any] | None = None

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


_KINDS: Final = (
    (TimeoutError, "timeout"),
    (ConnectionRefusedError, "refused"),
    (ConnectionResetError, "reset"),
    (BrokenPipeError, "reset"),
    (HTTPConnectionClosed, "closed"),
    (HTTPParseError, "not HTTP"),
    (socket.gaierror, "unreachable"),
    (OSError, "unreachable"),
)


def failure_of(error: BaseException) -> Failure:
    """Name what went wrong on the wire."""
    kind = next(name for type_, name in _KINDS if isinstance(error, type_))
    return Failure(kind, f"{type(error).__name__}: {error}")

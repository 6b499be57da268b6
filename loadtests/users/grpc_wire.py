"""gRPC over gevent's sockets, with as little as possible between the clock and the wire.

The client is our own: `grpcio` under `grpc.experimental.gevent` hands every call to a thread pool, so that
one user of a server which answers at once waits 1.7 ms for each answer, and eight users get less than half of
what they get over REST. That would measure the client. See docs/protocols.md.

A connection carries one call at a time, as a kept-alive HTTP/1.1 connection does; a further call in flight
has a connection of its own, so that no call waits behind another in this client.
"""

import functools
import socket
import ssl
from collections import deque
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import gevent.socket  # type: ignore[import-untyped]

from loadtests import grpc_client
from loadtests.errors import AddressError
from loadtests.grpc_client import GREETING, Call, GrpcConnection
from loadtests.ledger import Answer
from loadtests.users.wire import tls_context


class GrpcWire:
    """Connections to one server, each for one call at a time.

    Args:
        url_base: `grpc://HOST:PORT`, or `grpcs://HOST:PORT`, encrypted.
        timeout_s: how long to wait for a connection, and for the next bytes of an answer.
        tls: of `wire.tls_context`, for grpcs; None for the machine's own certificates.

    Raises:
        AddressError: see `require_grpc_url`.
    """

    failures = grpc_client.GRPC_FAILURES
    failure_of = staticmethod(grpc_client.failure_of)

    def __init__(self, url_base: str, *, timeout_s: float, concurrency: int, tls: Any = None) -> None:
        grpc_client.require_grpc_url(url_base)
        base = urlsplit(url_base)
        if tls is not None and base.scheme == grpc_client.SCHEME:
            raise AddressError(
                "grpc:// is not encrypted; leave --ca-file and --insecure out, or use grpcs://"
            )
        self._tls = _with_http2(tls) if base.scheme != grpc_client.SCHEME else None
        self._host, self._port, self._timeout_s = base.hostname or "", base.port or 0, timeout_s
        self._concurrency = concurrency
        self._idle: deque[GrpcConnection] = deque()

    encode = staticmethod(grpc_client.encode_calls)
    require_url = staticmethod(grpc_client.require_grpc_url)

    @functools.cached_property
    def _addresses(self) -> list[tuple[int, Any]]:
        """The addresses of the name; once one has answered, that one alone.

        A look-up goes through gevent's thread pool, for a number too; once is enough.
        """
        found = gevent.socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        return [(family, address) for family, _, _, _, address in found]

    def idle_connection(self) -> GrpcConnection | None:
        """Take a connection that is there and alive for the next call; None when it will need a new one."""
        while self._idle:
            connection = self._idle.pop()
            if connection.is_usable(self._look(connection.socket)):
                return connection
            connection.socket.close()
        return None

    def _look(self, connected: Any) -> Callable[[], bytes]:
        """Return a function that reads without waiting and does not let gevent run another greenlet."""
        if self._tls is None:
            return functools.partial(connected._sock.recv, grpc_client.READ_BYTES, socket.MSG_DONTWAIT)
        return functools.partial(connected._sslobj.read, grpc_client.READ_BYTES)

    def give_back(self, connection: GrpcConnection | None) -> None:
        """Put back a connection that was not used after all."""
        if connection is not None:
            self._idle.append(connection)

    @staticmethod
    def ready(request: Call, connection: GrpcConnection | None) -> tuple[Call, bytes]:
        """Return a call as it goes over `connection`, or over a new one."""
        return request, request.on(connection.stream if connection is not None else 1)

    def exchange(self, request: tuple[Call, bytes], connection: GrpcConnection | None) -> Answer:
        """Send what `ready` made, and read the whole answer; its moment is before any unpacking.

        Raises:
            OSError, NotGrpc: see `grpc_client.failure_of`. Nothing is tried twice.
        """
        call, frames = request
        greeting = b""
        if connection is None:
            connection, greeting = self._connect(), GREETING
        try:
            answer = grpc_client.exchange(connection, call, greeting, frames)
        except BaseException:
            connection.socket.close()
            raise
        self._keep(connection)
        return answer

    def _keep(self, connection: GrpcConnection) -> None:
        """Keep a connection for the next call, if the server takes one on it."""
        try:
            connection.settle()
        except OSError:
            connection.is_last = True
        if connection.is_last:
            connection.socket.close()
        else:
            self._idle.append(connection)

    def _connect(self) -> GrpcConnection:
        """Connect to the first address that answers, as clients of HTTP do."""
        *others, last = list(self._addresses)
        for found in others:
            try:
                return self._settled(found)
            except (TimeoutError, ssl.SSLError):
                raise  # somebody is there: what the next address says would be another fault
            except OSError:
                continue
        return self._settled(last)

    def _settled(self, found: tuple[int, Any]) -> GrpcConnection:
        connection = self._connect_to(*found)
        self._addresses[:] = [found]
        return connection

    def _connect_to(self, family: int, address: Any) -> GrpcConnection:
        plain = gevent.socket.socket(family, socket.SOCK_STREAM)
        try:
            plain.settimeout(self._timeout_s)
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            plain.connect(address)
            if self._tls is not None:
                plain = self._tls.wrap_socket(plain, server_hostname=self._host)
                grpc_client.require_http2(plain)
        except BaseException:
            plain.close()
            raise
        return GrpcConnection(plain)

    def close(self) -> None:
        """Close the idle connections."""
        while self._idle:
            self._idle.pop().socket.close()


def _with_http2(tls: Any) -> Any:
    context = tls or tls_context()
    context.set_alpn_protocols([grpc_client.PROTOCOL])
    return context

"""Addresses to listen on: checked, looked up, and written the way URLs and sockets want them."""

import ipaddress
import re
import socket
from typing import Any

from pipelines.errors import RequestError

HOST_NAME = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(\.(?!-)[A-Za-z0-9_-]{1,63})*", re.ASCII)


def require_host(text: str) -> str:
    """Return the address or name in `text`, an IPv6 address without its brackets.

    Raises:
        RequestError: it is neither an IP address nor a host name.
    """
    host = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    if not (_is_address(host) or HOST_NAME.fullmatch(host)):
        raise RequestError(
            f"--host {text!r} is neither an IP address nor a host name; allowed are such as 127.0.0.1, ::1, "
            "0.0.0.0 or localhost"
        )
    return host


def _is_address(host: str) -> bool:
    try:
        return "%" not in str(ipaddress.ip_address(host))
    except ValueError:
        return False


def url_host(host: str) -> str:
    """Return `host` as it stands in front of a port: an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host else host


def bound_socket(host: str, port: int) -> socket.socket:
    """Return a socket bound to `port` of `host`, 0 for a free one, that does not listen.

    Raises:
        OSError: there is no such host, it is not this machine's, or the port is taken.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    bound = socket.socket(family, kind, protocol)
    try:
        if port:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except BaseException:
        bound.close()
        raise
    return bound


def port_of(bound: socket.socket) -> int:
    """Return the port a socket is bound to."""
    address: Any = bound.getsockname()
    return int(address[1])

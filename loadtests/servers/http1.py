"""Just enough HTTP/1.1 for the servers of this folder: kept-alive connections and a Content-Length."""

import asyncio
import json
import sys
from collections.abc import Callable

_HEAD_END = b"\r\n\r\n"
_LENGTH = b"content-length:"

Factory = Callable[[], asyncio.Protocol]


def response(status: int, body: bytes, content_type: str = "application/json") -> bytes:
    """Return a whole HTTP/1.1 response."""
    head = f"HTTP/1.1 {status} X\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def take_request(received: bytearray) -> bytes | None:
    """Remove the first whole request from `received` and return it; None when it is not all there yet."""
    head_end = received.find(_HEAD_END)
    if head_end < 0:
        return None
    end = head_end + len(_HEAD_END) + _content_length(bytes(received[:head_end]).lower())
    if len(received) < end:
        return None
    request = bytes(received[:end])
    del received[:end]
    return request


def _content_length(head: bytes) -> int:
    start = head.find(_LENGTH)
    if start < 0:
        return 0
    return int(head[start + len(_LENGTH) :].split(b"\r\n", 1)[0])


async def serve(factory: Factory, host: str, port: int) -> None:
    """Serve until cancelled; say on stdout, as one JSON line, where."""
    server = await asyncio.get_running_loop().create_server(factory, host, port, backlog=1024)
    bound_host, bound_port = server.sockets[0].getsockname()[:2]
    sys.stdout.write(json.dumps({"host": bound_host, "port": bound_port}) + "\n")
    sys.stdout.flush()
    async with server:
        await server.serve_forever()

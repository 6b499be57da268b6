"""HTTP/2 frames and gRPC's framing on top of them, as far as a plain call needs them.

After RFC 9113 (HTTP/2), RFC 7541 (HPACK) and gRPC's own PROTOCOL-HTTP2. Both ends here announce a header
table of size 0, so that no header of one call says something about another's.
"""

import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEAD_BYTES: Final = 9
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
ACK: Final = 0x1
END_STREAM: Final = 0x1
END_HEADERS: Final = 0x4
PADDED: Final = 0x8
PRIORITY: Final = 0x20

HEADER_TABLE_SIZE, INITIAL_WINDOW_SIZE = 1, 4
FIRST_WINDOW: Final = 65535
"""Bytes of a stream, and of a connection, that may be under way before anything else was agreed on."""

LARGEST_WINDOW: Final = 2**31 - 1
LARGEST_FRAME: Final = 2**14
"""What every peer takes in one frame."""

PREFIX_BYTES: Final = 5
"""In front of a gRPC message: whether it is compressed, and its length."""


class Frame(NamedTuple):
    """One HTTP/2 frame, as it was received."""

    kind: int
    flags: int
    stream: int
    payload: bytes


def head(kind: int, flags: int, size: int) -> bytes:
    """Return a frame's first five bytes; its stream's number comes next, and then `size` bytes."""
    return struct.pack("!IB", size << 8 | kind, flags)


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Return one whole frame."""
    return head(kind, flags, len(payload)) + struct.pack("!I", stream) + payload


def greeting() -> bytes:
    """Return what both ends say first: no header table, and windows so wide that nothing waits."""
    settings = {HEADER_TABLE_SIZE: 0, INITIAL_WINDOW_SIZE: LARGEST_WINDOW}
    agreed = b"".join(struct.pack("!HI", name, value) for name, value in settings.items())
    return frame(SETTINGS, 0, 0, agreed) + window_update(LARGEST_WINDOW - FIRST_WINDOW)


def window_update(size: int) -> bytes:
    """Return the frame that lets the peer send `size` more bytes on this connection."""
    return frame(WINDOW_UPDATE, 0, 0, struct.pack("!I", size))


def literal(name: str, value: str) -> bytes:
    """Return one header as HPACK writes it without its tables and without Huffman's code."""
    return b"\0" + _text(name) + _text(value)


def _text(text: str) -> bytes:
    raw, least = text.encode("ascii"), 127
    if len(raw) < least:
        return bytes([len(raw)]) + raw
    rest, more = len(raw) - least, bytearray([least])
    while rest >= 128:  # noqa: PLR2004 - seven bits a byte
        more.append(rest % 128 + 128)
        rest //= 128
    return bytes([*more, rest]) + raw


def message(body: bytes) -> bytes:
    """Return a gRPC message, not compressed, as the data of a stream."""
    return struct.pack("!BI", 0, len(body)) + body


def take_frames(received: bytearray) -> Iterator[Frame]:
    """Remove the whole frames from `received`, one after the other."""
    at = 0
    try:
        while len(received) - at >= HEAD_BYTES:
            size_and_kind, flags, stream = struct.unpack_from("!IBI", received, at)
            end = at + HEAD_BYTES + (size_and_kind >> 8)
            if len(received) < end:
                return
            begin, at = at + HEAD_BYTES, end
            yield Frame(size_and_kind & 0xFF, flags, stream & LARGEST_WINDOW, bytes(received[begin:end]))
    finally:
        del received[:at]

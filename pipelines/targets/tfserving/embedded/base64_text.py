"""Binary values inside JSON: `{"b64": "…"}`."""

import binascii
import re
from typing import Any

from .json_text import Members
from .status import invalid

_SPACE = re.compile(r"\s+", re.ASCII)
_ENCODED = re.compile(r"[A-Za-z0-9+/]*(={0,2})")
_GROUP = 4


def is_base64(value: Any) -> bool:
    """Return whether a JSON value is an object whose only member is `b64`, a string."""
    return type(value) is Members and len(value) == 1 and value[0][0] == "b64" and type(value[0][1]) is str


def decode_base64(text: str) -> bytes:
    """Decode standard base64; padding may be left out and white space is skipped.

    Raises ServingError otherwise.
    """
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except ValueError:  # not the strict form; the lenient one takes longer to check
        return _decode_lenient(_SPACE.sub("", text))


def _decode_lenient(text: str) -> bytes:
    match = _ENCODED.fullmatch(text)
    if match is None:
        raise invalid("Unable to base64 decode")
    digits = len(text) - len(match[1])
    missing = -digits % _GROUP
    if missing == _GROUP - 1 or (match[1] and len(match[1]) != missing):
        raise invalid("Unable to base64 decode")
    return binascii.a2b_base64(text[:digits] + "=" * missing)


def encode_base64(value: bytes) -> str:
    """Encode bytes as standard base64 with padding."""
    return binascii.b2a_base64(value, newline=False).decode("ascii")

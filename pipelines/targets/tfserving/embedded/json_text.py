"""JSON in, with RapidJSON's own errors and offsets; and JSON values back as text for error messages.

An object becomes `Members`, a list of (key, value) pairs: it keeps the order and every duplicate, so that the
first of two equal keys can win. An array is a plain list, numbers are int (up to 64 bits) or float, the rest
as usual.
"""

import math
import re
import struct
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import rapidjson

from .decimals import float32_text, float64_text
from .status import ServingError, invalid

_FLOAT32 = struct.Struct("f")
_FLOAT32_MAX = 3.4028234663852886e38
_PARSE_ERROR = re.compile(r"Parse error at offset (\d+): (.*)", re.DOTALL)
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_INDENT = "    "
MAX_VALUE_TEXT = 4096
# Powers of ten between which a number is written without an exponent.
_PLAIN_FROM, _PLAIN_BELOW = -6, 21


class Members(list[tuple[str, Any]]):
    """The members of a JSON object in the order they were written."""

    __slots__ = ()

    def first(self, key: str, default: Any = None) -> Any:
        """Return the value of the first member with this key, or `default`."""
        for name, value in self:
            if name == key:
                return value
        return default

    def has(self, key: str) -> bool:
        """Return whether any member has this key."""
        return any(name == key for name, _ in self)


class _Decoder(rapidjson.Decoder):
    def start_object(self) -> Members:
        return Members()


_DECODE = _Decoder(number_mode=rapidjson.NM_NATIVE | rapidjson.NM_NAN)


def parse_object(body: bytes) -> Members:
    """Parse a request body that must be one JSON object.

    Raises ServingError (INVALID_ARGUMENT) with the parser's message and the byte offset of the mistake.
    """
    if not body:
        raise invalid("JSON Parse error: The document is empty")
    document = _parse(body)
    if type(document) is not Members:
        raise invalid(f"JSON Value: {value_text(document)} Is not object")
    return document


def _parse(body: bytes) -> Any:
    start = len(_BYTE_ORDER_MARK) if body.startswith(_BYTE_ORDER_MARK) else 0
    # The parser would take a NUL for the end of the text and let anything after it through.
    if (nul := body.find(0)) >= 0:
        raise _parse_error("Invalid value.", nul)
    try:
        return _DECODE(body[start:] if start else body)
    except rapidjson.JSONDecodeError as error:
        raise _translated(error, start) from None
    except UnicodeDecodeError as error:
        raise _parse_error("Invalid encoding in string.", error.start + start) from None
    except RecursionError:
        raise invalid("JSON Parse error: arrays and objects are nested too deeply") from None


def _translated(error: Exception, start: int) -> ServingError:
    match = _PARSE_ERROR.fullmatch(str(error))
    if match is None:
        return invalid(f"JSON Parse error: {error}")
    return _parse_error(match[2], int(match[1]) + start)


def _parse_error(problem: str, offset: int) -> ServingError:
    return invalid(f"JSON Parse error: {problem} at offset: {offset}")


def type_name(value: Any) -> str:
    """Return the type of a JSON value as in messages: Null, False, True, Object, Array, String or Number."""
    if value is None:
        return "Null"
    if isinstance(value, bool):
        return str(value)
    kinds: dict[Any, str] = {Members: "Object", list: "Array", str: "String"}
    return kinds.get(type(value), "Number")


def value_text(value: Any) -> str:
    """Write a JSON value as text for a message: objects indented by 4, arrays on one line.

    What would be longer than `MAX_VALUE_TEXT` is cut there, without having been written first.
    """
    if type(value) is float:
        fits = abs(value) <= _FLOAT32_MAX
        return float32_text(_FLOAT32.unpack(_FLOAT32.pack(value))[0]) if fits else float64_text(value)
    written: list[str] = []
    room = MAX_VALUE_TEXT
    for piece in _pieces(value, 0):
        written.append(piece[:room])
        room -= len(piece)
        if room < 0:
            return "".join([*written, "..."])
    return "".join(written)


def _pieces(value: Any, depth: int) -> Iterator[str]:
    """Yield the text of a value from left to right, made only as far as it is asked for."""
    if type(value) is Members:
        yield from _object_pieces(value, depth)
    elif type(value) is list:
        yield "["
        for at, item in enumerate(value):
            yield ", " if at else ""
            yield from _pieces(item, depth + 1)
        yield "]"
    elif type(value) is str:
        yield string_text(value[: MAX_VALUE_TEXT + 1])
    elif type(value) is float:
        yield _shortest_text(value)
    else:
        yield {None: "null", True: "true", False: "false"}[value] if _is_word(value) else str(value)


def _is_word(value: Any) -> bool:
    return value is None or isinstance(value, bool)


def _object_pieces(members: Members, depth: int) -> Iterator[str]:
    if not members:
        yield "{}"
        return
    gap = "\n" + _INDENT * (depth + 1)
    for at, (key, value) in enumerate(members):
        yield f"{',' if at else '{'}{gap}{string_text(key[: MAX_VALUE_TEXT + 1])}: "
        yield from _pieces(value, depth + 1)
    yield "\n" + _INDENT * depth + "}"


def _shortest_text(value: float) -> str:
    """Write the shortest digits that read back, with an exponent only below 1e-6 and from 1e21 on."""
    if not math.isfinite(value):
        return float64_text(value)
    digits, _, exponent = repr(value).partition("e")
    if not exponent:
        return digits
    if not _PLAIN_FROM <= int(exponent) < _PLAIN_BELOW:
        return f"{digits}e{int(exponent)}"
    plain = format(Decimal(repr(value)), "f")
    return plain if "." in plain else plain + ".0"


def string_text(value: str) -> str:
    """Write a string as quoted JSON; only quotes, backslashes and control characters are escaped."""
    text: str = rapidjson.dumps(value, ensure_ascii=False)
    return text

"""What parsing a gRPC message will take, in bytes, found by looking at its outermost fields only.

Two bytes of a message can become some hundred of a parsed one; a tensor's content stays as it is. So the
fields of a PredictRequest and of its tensors are looked at one by one, the large ones skipped over, and what
is too finely divided for that is counted at the worst.
"""

from typing import NamedTuple

_SMALL_BYTES = 64 * 1024
_MAX_FIELDS = 2000
_PER_ENTRY = 500
# The most that one byte becomes: empty map entries in a request, empty dimensions in a tensor, examples.
_MOST_IN_REQUEST, _MOST_IN_TENSOR, _MOST_ELSEWHERE = 250, 24, 48
# Field numbers: PredictRequest.inputs, the value of its entries, and a tensor's content, floats and doubles.
_INPUTS, _VALUE = 2, 2
_PLAIN = (4, 5, 6)
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_PARSED_COPIES = 2


class _Field(NamedTuple):
    number: int
    kind: int
    begin: int
    end: int


def predict_cost(raw: bytes) -> int:
    """Return the bytes that parsing a PredictRequest takes."""
    if len(raw) <= _SMALL_BYTES:
        return len(raw) * _MOST_ELSEWHERE
    return _cost(raw, 0, len(raw), 0)


def message_cost(raw: bytes) -> int:
    """Return the bytes that parsing any other request takes."""
    return len(raw) * _MOST_ELSEWHERE


def _cost(raw: bytes, at: int, end: int, level: int) -> int:
    """Return the cost of one message in a request (level 0), of a map entry (1) or of a tensor (2)."""
    most = _MOST_IN_TENSOR if level == len(_NESTED) else _MOST_IN_REQUEST
    total = _PER_ENTRY
    for _ in range(_MAX_FIELDS):
        field = _next(raw, at, end) if at < end else None
        if field is None:
            break
        total += _field_cost(raw, field, level, most)
        at = field.end
    return total + (end - at) * most


_NESTED = (_INPUTS, _VALUE)


def _field_cost(raw: bytes, field: _Field, level: int, most: int) -> int:
    size = field.end - field.begin
    if level < len(_NESTED):
        if field.number == _NESTED[level] and field.kind == _BYTES:
            return _cost(raw, field.begin, field.end, level + 1)
        return _PER_ENTRY + _PARSED_COPIES * size
    if field.number in _PLAIN and field.kind == _BYTES:
        return _PARSED_COPIES * size
    return most + most * size


def _next(raw: bytes, at: int, end: int) -> _Field | None:
    """Return the field that begins at `at`, or None if there is none that can be read."""
    tag, at = _varint(raw, at, end)
    kind, size = tag & 7, 0
    if kind == _VARINT:
        _, past = _varint(raw, at, end)
        return _Field(tag >> 3, kind, at, past)
    if kind == _BYTES:
        size, at = _varint(raw, at, end)
    elif kind in (_FIXED64, _FIXED32):
        size = 8 if kind == _FIXED64 else 4
    else:
        return None
    return _Field(tag >> 3, kind, at, at + size) if at + size <= end else None


def _varint(raw: bytes, at: int, end: int) -> tuple[int, int]:
    number = 0
    for shift in range(0, 70, 7):
        if at >= end:
            break
        byte = raw[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:  # noqa: PLR2004  the bit that says that more follow
            break
    return number, at

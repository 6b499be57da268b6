"""One JSON value to one tensor: a quick way through numpy, and a careful one that finds the exact mistake."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .base64_text import decode_base64, is_base64
from .dtypes import (
    DT_BOOL,
    DT_DOUBLE,
    DT_FLOAT,
    DT_INT8,
    DT_INT16,
    DT_INT32,
    DT_INT64,
    DT_STRING,
    DT_UINT8,
    DT_UINT32,
    DT_UINT64,
    Array,
    dtype_name,
    numpy_dtype,
)
from .json_text import Members, type_name, value_text
from .status import Code, ServingError, invalid

# What JSON may hold for each integer type. Small types take any int32 and keep its low bits, as the real
# server does.
_INT32_RANGE = (-(2**31), 2**31 - 1)
_RANGES = {
    DT_INT32: _INT32_RANGE,
    DT_INT16: _INT32_RANGE,
    DT_INT8: _INT32_RANGE,
    DT_UINT8: _INT32_RANGE,
    DT_INT64: (-(2**63), 2**63 - 1),
    DT_UINT32: (0, 2**32 - 1),
    DT_UINT64: (0, 2**64 - 1),
}
# The square of this is the most memory, in bytes, that a string among numbers can make numpy take.
_SHORT_BYTES = 2048
_FLOATS = (DT_FLOAT, DT_DOUBLE)


class Hints(NamedTuple):
    """What else than numbers a body may hold, found without walking through it.

    numpy would silently mix booleans with numbers, and would give each number the room of the longest string.
    """

    booleans: bool
    strings: bool


def hints_of(body: bytes, quoted: Callable[[], int]) -> Hints:
    """Return hints for a body in which so many `quoted` texts are expected; a short body may hold others."""
    strings = len(body) > _SHORT_BYTES and body.count(b'"') > 2 * quoted()
    return Hints(b"true" in body or b"false" in body, strings)


def quick_array(value: Any, dtype: int, hints: Hints) -> Array | None:
    """Return the tensor for a regular nested list, or None where only the careful way can tell what it is.

    Values are checked as strictly as by `TensorBuilder`.
    """
    if dtype == DT_STRING:
        return _quick_strings(value)
    if hints.strings or (hints.booleans and dtype != DT_BOOL):
        return None
    array = _regular(value)
    if array is None:
        return None
    kind = array.dtype.kind
    if dtype == DT_BOOL:
        return array if kind == "b" else None
    if dtype in _FLOATS and kind in "fiu":
        return _to_float(array, dtype)
    return _to_integer(array, dtype) if dtype in _RANGES and kind in "iu" else None


def _regular(value: Any) -> Array | None:
    """Return the array for a nested list whose lists have equal lengths and are not all empty, else None."""
    try:
        array = np.asarray(value)
    except (ValueError, OverflowError, RecursionError):
        return None
    return array if array.size else None


def _quick_strings(value: Any) -> Array | None:
    if type(value) is not list or not value or any(type(item) is not str for item in value):
        return None
    return object_array([item.encode() for item in value])


def _to_float(array: Array, dtype: int) -> Array:
    """Convert through float64, integers too, as RapidJSON does.

    Raises ServingError for a finite number that is too large.
    """
    return _narrowed(array.astype(np.float64, copy=False), numpy_dtype(dtype))


def _narrowed(wide: Array, numpy_type: Any) -> Array:
    try:
        with np.errstate(over="raise"):
            return wide.astype(numpy_type, copy=False)
    except FloatingPointError:
        largest = np.finfo(numpy_type).max
        raise invalid(f"A number is beyond {np.dtype(numpy_type)}, whose largest is {largest}") from None


def _to_integer(array: Array, dtype: int) -> Array | None:
    low, high = _RANGES[dtype]
    if int(array.min()) < low or int(array.max()) > high:
        return None
    return array.astype(numpy_dtype(dtype), copy=False)


def object_array(values: list[Any]) -> Array:
    """Make a 1-d object array of these values, whatever they look like."""
    result: Array = np.empty(len(values), dtype=object)
    result[:] = values
    return result


class Item(NamedTuple):
    """Shape and number of values of one JSON value that was added to a tensor."""

    shape: tuple[int, ...]
    size: int


class TensorBuilder:
    """Collects the values of one tensor, value by value, with a message for everything that does not fit."""

    def __init__(self, dtype: int) -> None:
        self.dtype = dtype
        self.values: list[Any] = []

    def add(self, value: Any) -> Item:
        """Add a scalar or a regular nested list. Raises ServingError for a wrong type, size or nesting."""
        before = len(self.values)
        shape = _leading_shape(value)
        self._fill(value, 0, shape)
        return Item(shape, len(self.values) - before)

    def build(self, shape: tuple[int, ...]) -> Array:
        """Return all values as one array of this shape. Raises ServingError if they do not fill it."""
        numpy_type = numpy_dtype(self.dtype)
        if numpy_type is None:
            raise ServingError(
                Code.UNIMPLEMENTED, f"Tensors of type {dtype_name(self.dtype)} are not supported"
            )
        try:
            return self._flat(numpy_type).reshape(shape)
        except ValueError as error:  # more dimensions than numpy has, or one given twice
            raise invalid(f"tensor parsing error: {error}") from None

    def _flat(self, numpy_type: np.dtype[Any]) -> Array:
        if self.dtype == DT_STRING:
            return object_array(self.values)
        wide = {DT_UINT64: np.uint64, DT_BOOL: np.bool_}.get(self.dtype)
        if wide is None:
            wide = np.int64 if self.dtype in _RANGES else np.float64
        return _narrowed(np.array(self.values, dtype=wide), numpy_type)

    def _fill(self, value: Any, level: int, shape: tuple[int, ...]) -> None:
        if type(value) is not list:
            if level != len(shape):
                raise invalid(
                    f"JSON Value: {value_text(value)} found at incorrect level: {level + 1} in the JSON DOM. "
                    f"Expected at level: {len(shape)}"
                )
            self.values.append(self._converted(value))
            return
        if level >= len(shape):
            raise invalid(f"Encountered list at unexpected level: {level} expected < {len(shape)}")
        if len(value) != shape[level]:
            raise invalid(
                f"Encountered list at unexpected size: {len(value)} at level: {level} "
                f"expected size: {shape[level]}"
            )
        for item in value:
            self._fill(item, level + 1, shape)

    def _converted(self, value: Any) -> Any:
        if type(value) is Members:
            return self._decoded(value)
        if not self._accepts(value):
            raise self._type_error(value)
        return value.encode() if self.dtype == DT_STRING else value

    def _decoded(self, value: Members) -> bytes:
        if self.dtype != DT_STRING:
            raise self._type_error(value)
        if not is_base64(value):
            raise invalid(f"JSON Value: {value_text(value)} not formatted correctly for base64 data")
        return decode_base64(value[0][1])

    def _accepts(self, value: Any) -> bool:
        if self.dtype in _RANGES:
            low, high = _RANGES[self.dtype]
            return type(value) is int and low <= value <= high
        if self.dtype in _FLOATS:
            return type(value) is float or type(value) is int
        if self.dtype in (DT_STRING, DT_BOOL):
            return type(value) is (str if self.dtype == DT_STRING else bool)
        name = dtype_name(self.dtype)
        raise ServingError(
            Code.UNIMPLEMENTED, f"Conversion of JSON Value: {value_text(value)} to type: {name}"
        )

    def _type_error(self, value: Any) -> ServingError:
        return invalid(
            f"JSON Value: {value_text(value)} Type: {type_name(value)} is not of expected type: "
            f"{dtype_name(self.dtype)}"
        )


def _leading_shape(value: Any) -> tuple[int, ...]:
    """Return the shape a JSON value claims to have: the lengths along its first elements."""
    shape = []
    while type(value) is list:
        shape.append(len(value))
        if not value:
            break
        value = value[0]
    return tuple(shape)

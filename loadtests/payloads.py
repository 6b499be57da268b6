"""The request bodies of a round and the answers they should get, made before any clock starts."""

import base64
import functools
import itertools
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loadtests.errors import PayloadError
from loadtests.files import read_object, write_json


@dataclass(frozen=True)
class PayloadPool:
    """Ready-made request bodies, sent again and again.

    Attributes:
        method: HTTP method, upper case.
        path: from the leading slash, without scheme and host.
        headers: sent with every request.
        bodies: at least one.
        expected: for each body the float outputs of the source model, flattened in the row order of
            `predictions`; None when answers are not checked.
        absolute_tolerance, relative_tolerance: |got - expected| <= absolute + relative * |expected|.
        rows: for each body the number of rows it asks about, None for a body that is not in TF Serving's row
            format; None to have them counted, which means to parse every body.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    bodies: tuple[bytes, ...]
    expected: tuple[tuple[float, ...], ...] | None
    absolute_tolerance: float
    relative_tolerance: float
    rows: tuple[int | None, ...] | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        _require(self.method.isalpha() and self.method.isupper(), f"method {self.method!r} is not upper case")
        _require(self.path.startswith("/"), f"path {self.path!r} does not start with '/'")
        _require(len(self.bodies) > 0, "a pool needs at least one body")
        _require(
            self.expected is None or len(self.expected) == len(self.bodies),
            "a pool needs as many expected answers as bodies, or none at all",
        )
        _require(
            self.rows is None or len(self.rows) == len(self.bodies),
            "a pool needs as many row counts as bodies, or none at all",
        )
        tolerances = (self.absolute_tolerance, self.relative_tolerance)
        _require(all(0 <= value < math.inf for value in tolerances), f"tolerances {tolerances} must be >= 0")

    def save(self, path: Path) -> None:
        """Write the pool as JSON, atomically. Bodies that are not UTF-8 text are written in base64."""
        encoding, texts = _bodies_as_text(self.bodies)
        plain = {field.name: getattr(self, field.name) for field in fields(self)}
        written = {"headers": dict(self.headers), "bodies_encoding": encoding, "bodies": texts}
        write_json(path, plain | written | {"rows": self.rows_counts})

    @classmethod
    def load(cls, path: Path) -> "PayloadPool":
        """Read what `save` wrote.

        Raises:
            PayloadError: unreadable, an unknown or missing key, or a value of the wrong kind.
        """
        names = [field.name for field in fields(cls)]
        value = read_object(path, [*names, "bodies_encoding"], PayloadError)
        try:
            return _pool_from_json(value)
        except (TypeError, ValueError, AttributeError) as problem:
            raise PayloadError(f"{path} does not hold a payload pool: {problem}") from problem
        except PayloadError as problem:
            raise PayloadError(f"{path}: {problem}") from problem

    @functools.cached_property
    def rows_counts(self) -> tuple[int | None, ...]:
        """Per body the number of rows it asks about; None when it is not in TF Serving's row format."""
        return tuple(map(_rows_count, self.bodies)) if self.rows is None else self.rows


def encode_rows(samples: Iterable[NDArray[Any]]) -> list[bytes]:
    """Encode each sample, shape (...) without the batch dimension, as one row-format request body.

    Compact JSON; a whole number such as 1e16 is written without exponent, so that every server is
    sent the same text whatever wrote it.

    Raises:
        PayloadError: a value that JSON cannot carry (NaN, infinity).
    """
    return [b'{"instances":[' + _json_text(np.asarray(sample)).encode() + b"]}" for sample in samples]


def check_answer(pool: PayloadPool, index: int, body: bytes) -> bool:
    """Say whether `body`, `{"predictions": [...]}`, is the expected answer to `pool.bodies[index]`.

    Right means: one prediction per row sent, as many values as expected, each within tolerance, and the
    same largest value in every row. Anything else, undecodable or not finite, is False.
    """
    if pool.expected is None:
        raise PayloadError("this pool has no expected answers to check against")
    got = _decode_predictions(body)
    if got is None or pool.rows_counts[index] not in (None, len(got)):
        return False
    expected = np.asarray(pool.expected[index], dtype=np.float64)
    if got.size != expected.size:
        return False
    expected = expected.reshape(got.shape)
    allowed = pool.absolute_tolerance + pool.relative_tolerance * np.abs(expected)
    # NaN compares false, so a prediction that is not a number is never right.
    return bool(np.all(np.abs(got - expected) <= allowed)) and _same_argmax(got, expected)


def _same_argmax(got: NDArray[np.float64], expected: NDArray[np.float64]) -> bool:
    if got.ndim < 2 or got.size == 0:  # noqa: PLR2004 - one number per row has no largest one
        return True
    return bool(np.array_equal(got.argmax(axis=-1), expected.argmax(axis=-1)))


def _decode_predictions(body: bytes) -> NDArray[np.float64] | None:
    """Return the predictions, shape (rows, ...) float64, or None when they are not a numeric array."""
    try:
        array = np.asarray(json.loads(body)["predictions"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return array.astype(np.float64) if array.dtype.kind in "if" and array.ndim >= 1 else None


def _rows_count(body: bytes) -> int | None:
    try:
        return len(json.loads(body)["instances"])
    except (ValueError, TypeError, KeyError):
        return None


def _json_text(array: NDArray[Any]) -> str:
    """Write nested lists. Every value that occurs is put into words once: images have few different ones."""
    if array.size == 0:
        return json.dumps(array.tolist())
    values, places = np.unique(array, return_inverse=True)
    words = [_value_text(value) for value in values.tolist()]
    items = [words[place] for place in places.ravel().tolist()]
    for size in reversed(array.shape):
        items = [f"[{','.join(items[at : at + size])}]" for at in range(0, len(items), size)]
    return items[0]


def _value_text(value: Any) -> str:
    return _float_text(value) if isinstance(value, float) else json.dumps(value)


def _float_text(value: float) -> str:
    if not math.isfinite(value):
        raise PayloadError(f"a sample holds {value}, which JSON cannot carry")
    return f"{value:.1f}" if value.is_integer() else repr(value)


def _bodies_as_text(bodies: Sequence[bytes]) -> tuple[str, list[str]]:
    try:
        return "utf-8", [body.decode() for body in bodies]
    except UnicodeDecodeError:
        return "base64", [base64.b64encode(body).decode() for body in bodies]


def _bodies_from_text(encoding: str, texts: Sequence[str]) -> tuple[bytes, ...]:
    if encoding == "utf-8":
        return tuple(text.encode() for text in texts)
    _require(encoding == "base64", f"bodies_encoding {encoding!r} is not 'utf-8' or 'base64'")
    return tuple(base64.b64decode(text, validate=True) for text in texts)


def _pool_from_json(value: dict[str, Any]) -> PayloadPool:
    encoding = value.pop("bodies_encoding")
    _require(isinstance(value["bodies"], list), "'bodies' is not a list")
    headers = value["headers"]
    _require(all(map(_is_text, itertools.chain(*headers.items()))), "'headers' must map text to text")
    expected = value["expected"]
    return PayloadPool(
        **value
        | {
            "bodies": _bodies_from_text(encoding, value["bodies"]),
            "expected": None if expected is None else tuple(tuple(map(_number, row)) for row in expected),
            "absolute_tolerance": _number(value["absolute_tolerance"]),
            "relative_tolerance": _number(value["relative_tolerance"]),
            "rows": None if value["rows"] is None else tuple(map(_count, value["rows"])),
        }
    )


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _count(value: Any) -> int | None:
    if value is not None and type(value) is not int:
        raise TypeError(f"{value!r} is not a number of rows")
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{value!r} is not a number")
    return float(value)


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise PayloadError(message)

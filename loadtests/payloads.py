"""The request bodies of a round and the answers they should get, made before any clock starts."""

import functools
import itertools
import json
import math
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loadtests.codecs import find_codec
from loadtests.errors import PayloadError
from loadtests.files import parse_object, replacing

# The parts of a pool's file: what each body is, all bodies one after the other, all numbers of the answers.
INDEX, BODIES, EXPECTED = "index.json", "bodies", "expected.f64"
EXPECTED_DTYPE = "<f8"
# Fields that the index holds as they are.
PLAIN = ("method", "path", "absolute_tolerance", "relative_tolerance", "codec")
INDEX_KEYS = (*PLAIN, "headers", "rows", "body_bytes", "expected_counts")


@dataclass(frozen=True)
class PayloadPool:
    """Ready-made request bodies, sent again and again.

    Attributes:
        method: HTTP method, upper case.
        path: from the leading slash, without scheme and host.
        headers: sent with every request.
        bodies: at least one.
        expected: for each body the float outputs of the source model, flattened in row order; None
            when answers are not checked.
        absolute_tolerance, relative_tolerance: |got - expected| <= absolute + relative * |expected|.
        rows: for each body the number of rows it asks about, None for a body that is not of the codec's
            format; None to have them counted, which means to parse every body.
        codec: a name of `CODECS`: how the bodies were made, and how answers are read.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    bodies: tuple[bytes, ...]
    expected: tuple[tuple[float, ...], ...] | None
    absolute_tolerance: float
    relative_tolerance: float
    rows: tuple[int | None, ...] | None = field(default=None, compare=False)
    codec: str = "json-rows"

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
        find_codec(self.codec)
        tolerances = (self.absolute_tolerance, self.relative_tolerance)
        _require(all(0 <= value < math.inf for value in tolerances), f"tolerances {tolerances} must be >= 0")

    def save(self, path: Path) -> None:
        """Write the pool atomically: a zip of an index, the bodies as they are sent, and the answers."""
        index = {
            **{name: getattr(self, name) for name in PLAIN},
            "headers": dict(self.headers),
            "rows": self.rows_counts,
            "body_bytes": [len(body) for body in self.bodies],
            "expected_counts": None if self.expected is None else [len(row) for row in self.expected],
        }
        numbers = [value for row in self.expected or () for value in row]
        with replacing(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
            archive.writestr(INDEX, json.dumps(index, indent=2, allow_nan=False) + "\n")
            archive.writestr(BODIES, b"".join(self.bodies))
            archive.writestr(EXPECTED, np.asarray(numbers, EXPECTED_DTYPE).tobytes())

    @classmethod
    def load(cls, path: Path) -> "PayloadPool":
        """Read what `save` wrote.

        Raises:
            PayloadError: unreadable, an unknown or missing key, or a value of the wrong kind.
        """
        try:
            with zipfile.ZipFile(path) as archive:
                parts = [archive.read(name) for name in (INDEX, BODIES, EXPECTED)]
        except OSError as problem:
            raise PayloadError(f"cannot read {path}: {problem.strerror or problem}") from problem
        except (zipfile.BadZipFile, KeyError, EOFError, NotImplementedError, RuntimeError) as problem:
            raise PayloadError(f"{path} does not hold a payload pool: {problem}") from problem
        try:
            index = parse_object(path, parts[0], INDEX_KEYS, PayloadError)
            return _pool_of(index, parts[1], np.frombuffer(parts[2], EXPECTED_DTYPE))
        except (TypeError, ValueError, AttributeError) as problem:
            raise PayloadError(f"{path} does not hold a payload pool: {problem}") from problem
        except PayloadError as problem:
            raise PayloadError(f"{path}: {problem}") from problem

    @functools.cached_property
    def rows_counts(self) -> tuple[int | None, ...]:
        """Per body the number of rows it asks about; None for a body that is not of the pool's codec."""
        return tuple(map(find_codec(self.codec).rows_count, self.bodies)) if self.rows is None else self.rows


def check_answer(pool: PayloadPool, index: int, body: bytes) -> bool:
    """Say whether `body` is the expected answer to `pool.bodies[index]`.

    Right means: one prediction per row sent, as many values as expected, each within tolerance, and the
    same largest value in every row. Anything else, undecodable or not finite, is False.
    """
    if pool.expected is None:
        raise PayloadError("this pool has no expected answers to check against")
    got = find_codec(pool.codec).decode(body)
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


def _pool_of(index: dict[str, Any], bodies: bytes, expected: NDArray[np.float64]) -> PayloadPool:
    texts = itertools.chain(*index["headers"].items())
    _require(all(map(_is_text, texts)), "'headers' must map text to text")
    pieces = _pieces(_sizes(index, "body_bytes"), len(bodies), "bodies")
    answers = None
    if index["expected_counts"] is not None:
        places = _pieces(_sizes(index, "expected_counts"), len(expected), "expected answers")
        answers = tuple(tuple(expected[place].tolist()) for place in places)
    return PayloadPool(
        **{name: index[name] for name in PLAIN}
        | {
            "headers": index["headers"],
            "bodies": tuple(bodies[piece] for piece in pieces),
            "expected": answers,
            "absolute_tolerance": _number(index["absolute_tolerance"]),
            "relative_tolerance": _number(index["relative_tolerance"]),
            "rows": None if index["rows"] is None else tuple(map(_count, index["rows"])),
        }
    )


def _sizes(index: Mapping[str, Any], name: str) -> list[int]:
    sizes = index[name]
    known = isinstance(sizes, list) and all(type(size) is int and size >= 0 for size in sizes)
    _require(known, f"{name!r} is not a list of sizes")
    return list(sizes)


def _pieces(sizes: Sequence[int], total: int, what: str) -> list[slice]:
    """Where each piece is; together they have to be all there is."""
    ends = [0, *itertools.accumulate(sizes)]
    _require(ends[-1] == total, f"the index and the {what} differ in size")
    return [slice(*edges) for edges in itertools.pairwise(ends)]


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

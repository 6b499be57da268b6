"""The request bodies of a round and the answers they should get, made before any clock starts."""

import functools
import hashlib
import itertools
import json
import math
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loadtests.codecs import find_codec, named
from loadtests.errors import PayloadError
from loadtests.files import parse_object, replacing

# The parts of a pool's file: what each body is, all bodies one after the other, all numbers of the answers.
INDEX, BODIES, EXPECTED = "index.json", "bodies", "expected.f64"
EXPECTED_DTYPE = "<f8"
FORMAT = 2
# Fields that the index holds as they are.
PLAIN = ("method", "path", "codec", "transport")
COUNTS = ("rows", "samples", "body_bytes", "expected_counts")
INDEX_KEYS = ("format", *PLAIN, "headers", "outputs", *COUNTS, "shares")
MATRIX = 2
DIGEST_BYTES = 7

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class CheckedOutput:
    """How one output of an answer is checked.

    Attributes:
        name: as the model calls it.
        absolute_tolerance, relative_tolerance: |got - expected| <= absolute + relative * |expected|.
        classes: whether these are scores of classes, whose largest must be that of the expected ones.
        is_bool: whether true and false are expected, and numbers are wrong; else the other way round.
        is_text: whether strings are expected, of which a pool holds `digests`.
    """

    name: str
    absolute_tolerance: float
    relative_tolerance: float
    classes: bool = False
    is_bool: bool = False
    is_text: bool = False

    def __post_init__(self) -> None:
        _require(_is_text(self.name), f"an output is called {self.name!r}, expected text")
        for value in (self.absolute_tolerance, self.relative_tolerance):
            _require(_is_number(value), f"{value!r} is not a number")
            _require(0 <= value < math.inf, f"tolerances of {self.name!r}: {value} must be >= 0")
        flags = (self.classes, self.is_bool, self.is_text)
        _require(all(type(flag) is bool for flag in flags), f"flags of {self.name!r} are {flags}, not bool")


@dataclass(frozen=True)
class PayloadPool:
    """Ready-made request bodies, sent again and again.

    Attributes:
        method: HTTP method, upper case.
        path: from the leading slash, without scheme and host.
        headers: sent with every request.
        bodies: at least one.
        expected: for each body what the source model gives, by output name, flattened in row order; a single
            one where the answer to all bodies is the same; None when answers are not checked.
        outputs: how each output is checked, by the names of `expected`, in the signature's order.
        rows: for each body the number of rows it asks about, None for a body that is not of the codec's
            format; None to have them counted, which means to parse every body.
        codec: a name of `CODECS`: how the bodies were made, and how answers are read.
        samples: for each body the number of the held-out sample that it asks about; None if unknown.
        transport: "http", or "grpc": then `path` is the method's full name, and bodies are its messages.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    bodies: tuple[bytes, ...]
    expected: tuple[Mapping[str, Numbers], ...] | None = field(default=None, compare=False)
    outputs: tuple[CheckedOutput, ...] = ()
    rows: tuple[int | None, ...] | None = field(default=None, compare=False)
    codec: str = "json-rows"
    samples: tuple[int, ...] | None = None
    transport: str = "http"

    def __post_init__(self) -> None:
        _require(self.method.isalpha() and self.method.isupper(), f"method {self.method!r} is not upper case")
        _require(self.path.startswith("/"), f"path {self.path!r} does not start with '/'")
        _require(len(self.bodies) > 0, "a pool needs at least one body")
        _require(
            self.rows is None or len(self.rows) == len(self.bodies),
            "a pool needs as many row counts as bodies, or none at all",
        )
        _require(
            self.samples is None or len(self.samples) == len(self.bodies),
            "a pool needs as many sample numbers as bodies, or none at all",
        )
        find_codec(self.codec)
        names = {output.name for output in self.outputs}
        _require(len(names) == len(self.outputs), "two outputs of a pool have the same name")
        if self.expected is None:
            return
        _require(
            len(self.expected) in {1, len(self.bodies)},
            "a pool needs as many expected answers as bodies, one for all, or none",
        )
        _require(bool(names), "a pool with expected answers needs to know how its outputs are checked")
        for answer in self.expected:
            _require(
                answer.keys() == names,
                f"an expected answer has the outputs {sorted(answer)}, checked are {sorted(names)}",
            )
        flat = tuple(
            {output.name: _numbers(answer[output.name]) for output in self.outputs}
            for answer in self.expected
        )
        object.__setattr__(self, "expected", flat)

    def save(self, path: Path, shared: Path | None = None) -> None:
        """Write the pool atomically: a zip of an index, the bodies as they are sent, and the answers.

        Pools of a run that differ in their path alone need not hold the same bytes: parts that the file
        `shared`, in the same folder, has already are left out, and where there is no such file it is made.
        """
        answers = self.expected or ()
        numbers = [
            answer[output.name].astype(EXPECTED_DTYPE) for answer in answers for output in self.outputs
        ]
        parts = {BODIES: b"".join(self.bodies), EXPECTED: b"".join(each.tobytes() for each in numbers)}
        if shared is not None:
            if not shared.is_file():
                _write(shared, parts)
            parts = _without_shared(parts, shared)
        index = {
            **{name: getattr(self, name) for name in PLAIN},
            "format": FORMAT,
            "headers": dict(self.headers),
            "outputs": [asdict(output) for output in self.outputs],
            "rows": self.rows_counts,
            "samples": self.samples,
            "body_bytes": [len(body) for body in self.bodies],
            "expected_counts": None if self.expected is None else [len(each) for each in numbers],
            "shares": None if shared is None else shared.name,
        }
        text = json.dumps(index, indent=2, allow_nan=False) + "\n"
        _write(path, {INDEX: text.encode(), **parts})

    @classmethod
    def load(cls, path: Path) -> "PayloadPool":
        """Read what `save` wrote.

        Raises:
            PayloadError: unreadable, of another format, an unknown or missing key, or a value of the wrong
                kind.
        """
        parts = _read(path)
        _require(INDEX in parts, f"{path} does not hold a payload pool: it has no {INDEX}")
        try:
            index = _index(path, parts[INDEX])
            if index["shares"] is not None:
                parts = _read(path.with_name(_file_name(index["shares"]))) | parts
            return _pool_of(index, parts[BODIES], np.frombuffer(parts[EXPECTED], EXPECTED_DTYPE))
        except (TypeError, ValueError, AttributeError, KeyError) as problem:
            raise PayloadError(f"{path} does not hold a payload pool: {problem}") from problem
        except PayloadError as problem:
            raise PayloadError(f"{path}: {problem}") from problem

    @property
    def request_type(self) -> str:
        """What Locust's own pages call a request."""
        return "gRPC" if self.transport == "grpc" else self.method

    @functools.cached_property
    def rows_counts(self) -> tuple[int | None, ...]:
        """Per body the number of rows it asks about; None for a body that is not of the pool's codec."""
        return tuple(map(find_codec(self.codec).rows_count, self.bodies)) if self.rows is None else self.rows

    @functools.cached_property
    def allowed(self) -> tuple[tuple[Numbers, ...], ...]:
        """Per expected answer and output the largest permitted |got - expected| of every value."""
        return tuple(
            tuple(
                output.absolute_tolerance + output.relative_tolerance * np.abs(answer[output.name])
                for output in self.outputs
            )
            for answer in self.expected or ()
        )

    def expected_of(self, index: int) -> Mapping[str, Numbers]:
        """Return the expected answer to a body, float64 values by output name, flattened in row order.

        Raises:
            PayloadError: this pool does not know answers.
        """
        if self.expected is None:
            raise PayloadError("this pool has no expected answers to check against")
        return self.expected[index if len(self.expected) > 1 else 0]


def digests(strings: NDArray[Any]) -> Numbers:
    """Return 52 bits of each string's digest as a whole number, which a float64 holds exactly.

    So expected answers of all kinds are numbers; a wrong string passes once in 4,500,000,000,000,000.
    """
    numbers = [
        int.from_bytes(hashlib.blake2b(string, digest_size=DIGEST_BYTES).digest(), "big") >> 4
        for string in np.ravel(strings).tolist()
    ]
    return np.array(numbers, np.float64)


def _numbers(expected: Any) -> Numbers:
    array = np.asarray(expected)
    return digests(array) if array.dtype.kind == "S" else array.astype(np.float64).ravel()


def check_answer(pool: PayloadPool, index: int, body: bytes) -> bool:
    """Say whether `body` is the expected answer to `pool.bodies[index]`.

    Right means: every output, one prediction per row sent, as many values as expected, each within tolerance,
    and of scores of classes the same largest value in every row. Anything else, undecodable or not finite, is
    False.
    """
    expected = pool.expected_of(index)
    answers = named(find_codec(pool.codec).decode(body), expected)
    if answers is None:
        return False
    rows, allowed = pool.rows_counts[index], pool.allowed[index if len(pool.allowed) > 1 else 0]
    return all(
        _is_right(output, answers[output.name], expected[output.name], most, rows)
        for output, most in zip(pool.outputs, allowed, strict=True)
    )


def _is_right(
    output: CheckedOutput, got: NDArray[Any], expected: Numbers, allowed: Numbers, rows: int | None
) -> bool:
    if (got.dtype.kind == "b") != output.is_bool or rows not in (None, len(got)) or got.size != expected.size:
        return False
    if (got.dtype.kind == "S") != output.is_text:
        return False
    if output.is_text:
        return np.array_equal(digests(got), expected)
    # NaN compares false, so a prediction that is not a number is never right.
    close = abs(got.ravel() - expected) <= allowed
    return bool(close.all()) and not (output.classes and _other_class(got, expected))


def _other_class(got: NDArray[Any], expected: Numbers) -> bool:
    if got.ndim < MATRIX or got.size == 0:  # one number per row has no largest one
        return False
    if len(got) == 1 and got.ndim == MATRIX:  # what nearly every answer is, at a third of the cost
        return bool(got.argmax() != expected.argmax())
    return not np.array_equal(got.argmax(axis=-1), expected.reshape(got.shape).argmax(axis=-1))


def _write(path: Path, parts: Mapping[str, bytes]) -> None:
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, content in parts.items():
            # No time: the same requests are the same file, also where the clock is before 1980.
            archive.writestr(zipfile.ZipInfo(name), content)


def _without_shared(parts: Mapping[str, bytes], shared: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(shared) as archive:
        there = {info.filename: (info.file_size, info.CRC) for info in archive.infolist()}
    return {
        name: content
        for name, content in parts.items()
        if there.get(name) != (len(content), zlib.crc32(content))
    }


def _read(path: Path) -> dict[str, bytes]:
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in (INDEX, BODIES, EXPECTED) if name in archive.namelist()]
            return {name: archive.read(name) for name in names}
    except OSError as problem:
        raise PayloadError(f"cannot read {path}: {problem.strerror or problem}") from problem
    except (zipfile.BadZipFile, KeyError, EOFError, NotImplementedError, RuntimeError) as problem:
        raise PayloadError(f"{path} does not hold a payload pool: {problem}") from problem


def _index(path: Path, text: bytes) -> dict[str, Any]:
    index = json.loads(text)
    version = index.get("format", 1) if isinstance(index, dict) else FORMAT
    _require(
        version == FORMAT,
        f"is a payload pool of format {version!r}, this version reads {FORMAT}; run the comparison again",
    )
    return parse_object(path, text, INDEX_KEYS, PayloadError)


def _file_name(name: Any) -> str:
    _require(_is_text(name) and Path(name).name == name, f"shares {name!r:.80}, which is no file beside it")
    return str(name)


def _pool_of(index: dict[str, Any], bodies: bytes, expected: Numbers) -> PayloadPool:
    texts = itertools.chain(*index["headers"].items())
    _require(all(map(_is_text, texts)), "'headers' must map text to text")
    outputs = tuple(map(_output_of, index["outputs"]))
    pieces = _pieces(_sizes(index, "body_bytes"), len(bodies), "bodies")
    answers = None
    if index["expected_counts"] is not None:
        places = _pieces(_sizes(index, "expected_counts"), len(expected), "expected answers")
        names = [output.name for output in outputs]
        answers = tuple(
            {name: expected[place] for name, place in zip(names, row, strict=True)}
            for row in zip(*[iter(places)] * len(names), strict=True)
        )
    return PayloadPool(
        **{name: index[name] for name in PLAIN},
        headers=index["headers"],
        bodies=tuple(bodies[piece] for piece in pieces),
        expected=answers,
        outputs=outputs,
        rows=None if index["rows"] is None else tuple(map(_count, index["rows"])),
        samples=None if index["samples"] is None else tuple(_sizes(index, "samples")),
    )


def _output_of(described: Any) -> CheckedOutput:
    names = {member.name for member in fields(CheckedOutput)}
    needed = names - {"is_text"}  # which earlier versions did not write
    right = isinstance(described, dict) and needed <= described.keys() <= names
    _require(right, f"an output is {described!r:.80}")
    return CheckedOutput(**described)


def _sizes(index: Mapping[str, Any], name: str) -> list[int]:
    sizes = index[name]
    is_right = isinstance(sizes, list) and all(type(size) is int and size >= 0 for size in sizes)
    _require(is_right, f"{name!r} is not a list of sizes")
    return list(sizes)


def _pieces(sizes: Sequence[int], total: int, what: str) -> list[slice]:
    """Return where each piece is; together they have to be all there is."""
    ends = [0, *itertools.accumulate(sizes)]
    _require(ends[-1] == total, f"the index and the {what} differ in size")
    return [slice(*edges) for edges in itertools.pairwise(ends)]


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _count(value: Any) -> int | None:
    if value is not None and type(value) is not int:
        raise TypeError(f"{value!r} is not a number of rows")
    return value


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise PayloadError(message)

"""JSON files that are read strictly and appear on disk whole or not at all."""

import contextlib
import json
import os
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from loadtests.errors import LoadTestError


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside `path`; rename it to `path` on success, remove it otherwise."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        temporary.replace(path)
    except OSError as problem:
        # A write that finds the disk full does not say in which file.
        problem.filename = problem.filename or str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write `value` as JSON to `path`, atomically. NaN and infinities raise ValueError."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def read_object(path: Path, fields: Collection[str], error: type[LoadTestError]) -> dict[str, Any]:
    """Read the JSON object in `path`, which must have exactly the keys `fields`.

    Raises:
        error: unreadable, not a JSON object, or with unknown or missing keys.
    """
    try:
        text = path.read_bytes()
    except OSError as problem:
        raise error(f"cannot read {path}: {problem.strerror}") from problem
    return parse_object(path, text, fields, error)


def parse_object(
    path: Path, text: bytes, fields: Collection[str], error: type[LoadTestError]
) -> dict[str, Any]:
    """Read the JSON object `text`, which is in `path` and must have exactly the keys `fields`.

    Raises:
        error: not a JSON object, or with unknown or missing keys.
    """
    try:
        value = json.loads(text.decode("utf-8"))
    except ValueError as problem:
        raise error(f"{path} is not JSON: {problem}") from problem
    if not isinstance(value, dict):
        raise error(f"{path} holds a {type(value).__name__}, expected a JSON object")
    _require_same_keys(path, value, fields, error)
    return value


def _require_same_keys(
    path: Path, value: Collection[str], fields: Collection[str], error: type[LoadTestError]
) -> None:
    unknown = sorted(set(value) - set(fields))
    missing = sorted(set(fields) - set(value))
    if unknown:
        raise error(f"{path}: unknown key {unknown[0]!r}, allowed are {', '.join(fields)}")
    if missing:
        raise error(f"{path}: missing key {missing[0]!r}")

"""The REST API's paths."""

import re
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import unquote_to_bytes

from .status import invalid

_WHERE = r"(?:/versions/(\d+)|/labels/([^/:]+))?"
_PREDICTION = re.compile(rf"/v1/models/([^/:]+){_WHERE}:(classify|regress|predict)", re.ASCII)
_MODEL = re.compile(rf"/v1/models(?:/([^/:]+))?{_WHERE}(?:/(metadata))?", re.ASCII)
_INT64_MAX = 2**63 - 1
_INT64_DIGITS = 19
# Paths that were asked for are remembered up to this length, so that they take 1 MB at most.
_REMEMBERED_CHARACTERS = 256
API_PREFIX = "/v1/"


@dataclass(frozen=True, slots=True)
class Route:
    """What a path asks for: status, metadata, predict, classify or regress, of which model and version."""

    action: str
    model: str
    version: int | None
    label: str | None


def find_route(method: str, path: str) -> Route:
    """Find the route of a path without its query, below `API_PREFIX`.

    Raises ServingError (INVALID_ARGUMENT).
    """
    return (_remembered if len(path) <= _REMEMBERED_CHARACTERS else _found)(method, path)


def _found(method: str, path: str) -> Route:
    pattern = {"POST": _PREDICTION, "GET": _MODEL}.get(method)
    match = pattern.fullmatch(path) if pattern else None
    if match is None:
        raise invalid(f"Malformed request: {method} {path}")
    name, version, label, action = match.groups()
    if not name:
        raise invalid("Missing model name in request.")
    # Python itself refuses to convert much longer numbers.
    if version and (len(version.lstrip("0")) > _INT64_DIGITS or int(version[-_INT64_DIGITS:]) > _INT64_MAX):
        raise invalid(f"Failed to convert version: {version} to numeric.")
    return Route(
        action or "status",
        _decoded(name),
        int(version[-_INT64_DIGITS:]) if version else None,
        label and _decoded(label),
    )


_remembered = lru_cache(maxsize=1024)(_found)


def _decoded(part: str) -> str:
    return unquote_to_bytes(part).decode("utf-8", "replace")

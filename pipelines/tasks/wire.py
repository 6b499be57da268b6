"""How arguments and results travel between processes: as JSON, and then as what annotations say."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints


def encoded(value: object) -> str:
    """Return JSON, in one line, of numbers, texts, paths, dataclasses, records and containers of those.

    Raises:
        TypeError: there is something else in it.
    """
    return json.dumps(value, default=_plain)


def _plain(value: object) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if hasattr(value, "model_dump"):  # of pydantic, which not every environment has
        return value.model_dump(mode="json")
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"a task takes and returns no {type(value).__name__}")


def typed_arguments(function: Callable[..., Any], arguments: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return arguments from JSON as the function's annotations have them.

    What JSON has needs no library for it: environments of converters have none, and in a training's process
    it would be memory that is no framework's.

    Raises:
        pydantic.ValidationError: one is something else.
    """
    hints = get_type_hints(function)
    if all(_is_json(hints.get(name, Any)) for name in arguments):
        return arguments
    return {name: typed(hints.get(name, Any), value) for name, value in arguments.items()}


def _is_json(hint: Any) -> bool:
    """Say whether a value that comes from JSON is of this type without being changed."""
    kind = get_origin(hint)
    if kind in (list, dict, Sequence, Mapping, UnionType):
        return all(map(_is_json, get_args(hint)))
    return kind is Literal or hint in (str, int, float, bool, NoneType, Any)


def typed(hint: Any, value: Any) -> Any:
    """Return a value from JSON as one of the type `hint`.

    Raises:
        pydantic.ValidationError: it is none.
    """
    from pydantic import TypeAdapter

    return TypeAdapter(hint).validate_python(value)

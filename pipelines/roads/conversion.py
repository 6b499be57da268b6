"""The process of one conversion: what its converter says of a model it does not take, in one line."""

import time
from collections.abc import Callable
from pkgutil import resolve_name
from typing import Any

from models.errors import ModelError
from pipelines.errors import UserError
from pipelines.roads.refusal import explain


def convert(progress: Callable[[str], None], /, function: str, **arguments: Any) -> str | None:
    """Call the converter "module:function"; None, or why it did not take the model.

    Raises:
        ModelError, UserError: the converter's own.
    """
    try:
        resolve_name(function)(progress=progress, **arguments)
    except (ModelError, UserError):
        raise
    except Exception as error:  # noqa: BLE001 - whatever another's converter raises is its answer
        return explain(error)
    return None


def convert_each(
    progress: Callable[[str], None], function: str, orders: list[dict[str, Any]]
) -> list[tuple[float, str | None]]:
    """Run `convert` for several models in one process; return each one's seconds and refusal."""
    results = []
    for order in orders:
        started = time.monotonic()
        refused = convert(progress, function, **order)
        results.append((time.monotonic() - started, refused))
    return results

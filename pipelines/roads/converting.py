"""The process of one conversion: what its converter says of a model it does not take, in one line."""

import importlib
from collections.abc import Callable
from typing import Any

from models.errors import ModelError
from pipelines.errors import UserError
from pipelines.roads.refusal import explain


def convert(function: str, progress: Callable[[str], None], **arguments: Any) -> str | None:
    """Call the converter "module:function"; None, or why it did not take the model.

    Raises:
        ModelError, UserError: the converter's own.
    """
    module, name = function.split(":")
    try:
        getattr(importlib.import_module(module), name)(progress=progress, **arguments)
    except (ModelError, UserError):
        raise
    except Exception as error:  # noqa: BLE001 - whatever another's converter raises is its answer
        return explain(error)
    return None

"""A target's own smoke checks, beside those that every server gets; they are in the target's folder."""

import importlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

from models.spec import ModelSpec
from pipelines.errors import GateError
from pipelines.targets.endpoint import Endpoint
from pipelines.targets.registry import find_target


@dataclass(frozen=True)
class Running:
    """A server that runs, as its target's own checks see it.

    Attributes:
        folder: the target's artifacts.
        execute: runs a command inside its container: exit code and output; None for a local process.
    """

    spec: ModelSpec
    folder: Path
    endpoint: Endpoint
    execute: Callable[[list[str]], tuple[int, str]] | None = None


class OwnChecks(Protocol):
    """A module `checks.py` in a target's folder. What is wrong is a GateError, or what reading it raises."""

    def status(self, running: Running) -> str:
        """Return what the API reports of a server that is up."""
        ...

    def metadata(self, running: Running) -> str:
        """Name, version and signature, as the artifact and the model have them."""
        ...

    def unknown_model(self, answer: Any) -> None:
        """Check that the JSON `answer` about a model that is not there has the server's own form."""
        ...


def own_checks(target: str) -> OwnChecks | None:
    """Return the checks that `target` names; None if it names none."""
    named = find_target(target).checks
    return cast("OwnChecks", importlib.import_module(named)) if named else None


def require(condition: bool, message: str) -> None:
    """Raise GateError with `message` unless the condition holds."""
    if not condition:
        raise GateError(message)


def require_error_text(answer: Any) -> None:
    """Raise GateError unless the answer is `{"error": "…"}`."""
    require(
        isinstance(answer.get("error"), str), f'it is {json.dumps(answer)[:200]}, expected {{"error": "…"}}'
    )

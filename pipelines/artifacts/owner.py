"""Whose artifacts a folder holds: two model files of one name would replace each other's without a word."""

import os
from pathlib import Path

from pydantic import ValidationError

from models.spec import ModelSpec
from pipelines.errors import GateError, RequestError
from pipelines.files.atomic import write_atomically
from pipelines.files.regular import read_regular
from pipelines.record.base import Record

OWNER_NAME = "model.json"
OWNER_LIMIT_BYTES = 65_536


class Owner(Record):
    """The model file, relative to the folder that says so (null for a shipped model), and its digest."""

    file: str | None
    model_digest: str


def claim(root: Path, spec: ModelSpec) -> None:
    """Say in `root` that it holds the artifacts of `spec`.

    Raises:
        RequestError: as `require_owner`.
    """
    require_owner(root, spec)
    mine = _owner(root, spec)
    if mine != _read(root):
        write_atomically(root / OWNER_NAME, mine.model_dump_json() + "\n")


def require_owner(root: Path, spec: ModelSpec) -> None:
    """Refuse a folder of another model of the same name, unless that model's file is gone.

    A copy of the file that is the very same model is no other one, as in another checkout.

    Raises:
        RequestError: it is another model's; says whose.
    """
    owner, mine = _read(root), _owner(root, spec)
    if owner is None or owner.file == mine.file or owner.model_digest == mine.model_digest:
        return
    other = None if owner.file is None else Path(os.path.normpath(root.resolve() / owner.file))
    if other is not None and not other.is_file():
        return
    whose = f"{other}" if other else "this package"
    raise RequestError(
        f"{root} holds artifacts of another model called {spec.name}, that of {whose}; give one of them "
        "another name, or name another folder with --artifacts"
    )


def _owner(root: Path, spec: ModelSpec) -> Owner:
    file = None if spec.origin is None else os.path.relpath(spec.origin.resolve(), root.resolve())
    return Owner(file=file, model_digest=spec.digest)


def _read(root: Path) -> Owner | None:
    """Read who owns the folder; return None if nobody does, or it cannot be read."""
    try:
        return Owner.model_validate_json(read_regular(root / OWNER_NAME, OWNER_LIMIT_BYTES))
    except (FileNotFoundError, GateError, ValidationError):
        return None

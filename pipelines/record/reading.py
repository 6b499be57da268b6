"""Reads a run's folder: run.json and the files that it names."""

import os
import stat
from pathlib import Path
from typing import Any, Final

from pydantic_core import from_json

from pipelines.record.run import RunRecord
from pipelines.record.upgrade import upgraded

RUN_LIMIT_BYTES: Final = 2**28
SHOWN: Final = 200


def read_run(folder: Path) -> RunRecord:
    """Read and validate `folder`/run.json.

    Raises:
        FileNotFoundError: there is no run.json.
        OSError, ValueError: it is no regular file, or too large to be one.
        pydantic.ValidationError: it does not follow this schema.
    """
    raw = _read_regular(folder / "run.json")
    older = _older(raw)
    return RunRecord.model_validate_json(raw) if older is None else RunRecord.model_validate(older)


def _older(raw: bytes) -> dict[str, Any] | None:
    """Bring a record of an older version into the current form; return None for any other."""
    try:
        data = from_json(raw, allow_inf_nan=False)
    except ValueError:
        return None
    return upgraded(data) if isinstance(data, dict) and data.get("schema_version") == 1 else None


def _read_regular(path: Path) -> bytes:
    # Not blocking: opening a pipe would wait for a writer.
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        state = os.fstat(file.fileno())
        if not stat.S_ISREG(state.st_mode):
            raise ValueError("it is no regular file")
        if state.st_size > RUN_LIMIT_BYTES:
            raise ValueError(f"it has {state.st_size} bytes")
        return file.read()


def file_within(folder: Path, name: str) -> Path:
    """Return the path of a file of a run, by its name relative to the run's folder.

    Raises:
        ValueError: it would be outside, by its name or through a link, or is no regular file.
    """
    path = folder / name
    try:
        if not name or "\0" in name or not path.resolve().is_relative_to(folder.resolve()):
            raise ValueError(f"{name[:SHOWN]!r} is not inside the run's folder {folder}")
        if path.exists() and not path.is_file():
            raise ValueError(f"{path} is no regular file")
    except OSError as error:
        raise ValueError(f"{name[:SHOWN]!r} is no file of a run: {error.strerror}") from error
    except RuntimeError as error:  # what a loop of links is to pathlib before Python 3.13
        raise ValueError(f"{name[:SHOWN]!r} is no file of a run: its links form a loop") from error
    return path

"""Reading a protocol buffer's text format from a file that a person wrote."""

from pathlib import Path
from typing import Any

from pipelines.errors import RequestError


def read_text_proto(path: Path, message: Any) -> Any:
    """Parse a text proto file into `message` and return it.

    Raises RequestError, naming the file and the line.
    """
    from google.protobuf import text_format  # type: ignore[import-untyped]

    try:
        return text_format.Parse(path.read_text(encoding="utf-8"), message)
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(f"Cannot read {path}: {error}") from None
    except text_format.ParseError as error:
        raise RequestError(f"{path} is not a {type(message).__name__} in text format: {error}") from None

"""What must not be seen: headers that came by a way that leaves no trace, and texts that may quote them."""

import json
from collections.abc import Iterable
from typing import IO

from loadtests.errors import PlanError

BLOT = "***"
KINDS = ("bearer", "basic", "token", "digest")
WORTH_HIDING = 4
"""Shorter values are part of ordinary words; nothing that short keeps anybody out."""


def read_headers(source: IO[str]) -> dict[str, str]:
    """Read a JSON object of headers to the end of `source`.

    Raises:
        PlanError: it is none; says nothing of what was read.
    """
    try:
        headers = json.load(source)
    except ValueError:
        headers = None
    if not isinstance(headers, dict) or not all(isinstance(value, str) for value in headers.values()):
        raise PlanError("stdin holds no JSON object of headers")
    return headers


def blotted(text: str, secrets: Iterable[str]) -> str:
    """Return `text` with every secret, and every word of one, replaced: servers quote what they were sent.

    Also where `text` was cut off in the middle of one.
    """
    words = {word for value in secrets for word in (value, *value.split())}
    for word in sorted(words, key=len, reverse=True):
        if len(word) < WORTH_HIDING or word.lower() in KINDS:
            continue
        text = text.replace(word, BLOT)
        cut = next((n for n in range(len(word) - 1, WORTH_HIDING - 1, -1) if text.endswith(word[:n])), 0)
        text = text[: len(text) - cut] + BLOT if cut else text
    return text

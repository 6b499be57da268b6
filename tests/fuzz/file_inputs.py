"""What fuzzers of files share: how long they try, from which seed, and how bytes and JSON are damaged.

TANDEM_FUZZ_S=600 goes on for as many seconds with each test; TANDEM_FUZZ_SEED chooses other inputs. A failed
try says its number: TANDEM_FUZZ_FIRST=NUMBER begins there.
"""

import os
import random
import time
from collections.abc import Iterator
from typing import Any

import pytest

FUZZ_S = float(os.environ.get("TANDEM_FUZZ_S", "2"))
SEED = int(os.environ.get("TANDEM_FUZZ_SEED", "12"))
FIRST = int(os.environ.get("TANDEM_FUZZ_FIRST", "0"))
# However slow the machine is, so many are tried.
LEAST = 20

ODD = (
    *(None, True, False, 0, -1, 1, 2, 3, 4, 8, 64, 65, 2**31, 2**32, 2**62, 2**63, 2**64, 10**30, 0.5, 1e308),
    *("", "x", "F32", "I64", "BF16", "../x", "/etc/hostname", "\0", "a\nb", "\x1b[31m", "\u202e", "é" * 999),
    *([], [[]], {}, {"x": 1}, [None], [0, 0], [1] * 65, ["a", "b"]),
)


@pytest.fixture
def tries() -> Iterator[random.Random]:
    """A random generator for each try, until the time is up; prints how many there were."""
    number = FIRST

    def each() -> Iterator[random.Random]:
        nonlocal number
        ends = time.monotonic() + FUZZ_S
        while number - FIRST < LEAST or time.monotonic() < ends:
            yield random.Random(SEED * 2**32 + number)  # noqa: S311 - not for secrets
            number += 1

    yield each()
    print(f"{number - FIRST} tries, the last one number {number - 1} of seed {SEED}")  # noqa: T201 - for -s


def damaged(content: bytes, rng: random.Random) -> bytes:
    """`content` with a few of its bytes changed, lost, doubled or put elsewhere."""
    found = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        start = rng.randrange(len(found) + 1)
        end = min(len(found), start + rng.choice((1, 1, 2, 4, 8, 40)))
        part = bytes(found[start:end])
        found[start:end] = rng.choice(
            (
                bytes(byte ^ (1 << rng.randrange(8)) for byte in part),
                b"",
                part * 2,
                rng.randbytes(len(part)),
                rng.choice((b"\0", b"\xff")) * len(part),
                bytes(found[rng.randrange(len(found) + 1) :][: len(part)]),
            )
        )
    return bytes(found[: rng.randrange(len(found) + 1)] if rng.random() < 0.05 else found)


def altered(value: Any, rng: random.Random) -> Any:
    """A JSON value with something inside it replaced, dropped, doubled or added."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        return _altered_object(value, rng)
    if isinstance(value, list) and value and rng.random() < 0.9:
        return _altered_array(value, rng)
    if isinstance(value, int) and rng.random() < 0.5:
        return value + rng.choice((-4, -1, 1, 4))
    return rng.choice(ODD)


def _altered_object(value: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    key, kind = rng.choice(list(value)), rng.random()
    if kind < 0.1:
        return {name: one for name, one in value.items() if name != key}
    if kind < 0.2:
        return value | {str(rng.choice(ODD)): value[key]}
    return value | {key: altered(value[key], rng)}


def _altered_array(value: list[Any], rng: random.Random) -> list[Any]:
    place, kind = rng.randrange(len(value)), rng.random()
    if kind < 0.2:
        return value[:place] + value[place + 1 :]
    return [*value[:place], altered(value[place], rng), *value[place + (0 if kind < 0.3 else 1) :]]

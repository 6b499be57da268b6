"""When requests are sent: by users who wait for their answers, or on a schedule that waits for nobody."""

import math
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

from loadtests.errors import LoadError

NS_PER_S: Final = 1_000_000_000
RATE_LIMIT_PER_S: Final = 50_000
"""Several times what one generator can send; beyond it, it could not even note what it did not send."""

RATE_LEAST_PER_S: Final = 0.001
"""One request in a quarter of an hour: below it, no round sends any."""

USERS_LIMIT: Final = 8192
"""As many connections as open load may have; each costs two descriptors and some 100 kB."""

IN_FLIGHT_LIMIT: Final = 8192
"""Requests of open load that may be unanswered at once. Beyond it, arrivals wait: sent late, or never."""

SPARE_FILES: Final = 64
"""Of the files this process may open, those that are not for connections."""

REQUESTS_LIMIT: Final = 50_000_000
"""Of one round: more than a generator sends in a quarter of an hour; 1.5 GB in memory when they are read."""

_SYNTAX = re.compile(r"(closed|open):(\d+(?:\.\d+)?)")


@dataclass(frozen=True)
class Load:
    """A load.

    Attributes:
        kind: `closed`: `value` users, each sending its next request when it has its answer;
            `open`: `value` requests per second on average, whether or not answers come.
        value: users (a whole number) or requests per second; above zero.
    """

    kind: Literal["closed", "open"]
    value: float

    @property
    def is_open(self) -> bool:
        """Whether latency counts from the schedule."""
        return self.kind == "open"

    def __str__(self) -> str:
        return f"{self.kind}:{self.value:g}"


def parse_load(text: str) -> Load:
    """Read `closed:USERS` or `open:RATE`, for example `closed:8` or `open:250`.

    Raises:
        LoadError: anything else.
    """
    match = _SYNTAX.fullmatch(text.strip())
    if match is None:
        raise LoadError(f"load {text!r} is not understood: write closed:USERS or open:RATE, such as closed:8")
    kind, value = match[1], float(match[2])
    if value <= 0:
        raise LoadError(f"load {text!r} sends nothing: give a number above zero")
    if kind == "open" and value > RATE_LIMIT_PER_S:
        raise LoadError(
            f"load {text[:80]!r} is beyond any generator: at most {RATE_LIMIT_PER_S} requests per second"
        )
    if kind == "open" and value < RATE_LEAST_PER_S:
        raise LoadError(f"load {text!r} sends nothing: at least {RATE_LEAST_PER_S} requests per second")
    if kind == "open":
        return Load("open", value)
    if value > USERS_LIMIT:
        raise LoadError(f"load {text[:80]!r} is beyond any generator: at most {USERS_LIMIT} users")
    if not value.is_integer():
        raise LoadError(f"load {text!r} asks for a part of a user: give a whole number")
    return Load("closed", value)


def poisson_schedule(rate_per_s: float, seed: int) -> Iterator[int]:
    """Yield the times of a Poisson process, nanoseconds from its beginning, for ever.

    The gaps are exponential with mean 1 / `rate_per_s`, by inversion; the same seed gives the same times.
    """
    source = random.Random(seed)  # noqa: S311 - a schedule, not a secret
    elapsed_s = 0.0
    while True:
        elapsed_s -= math.log(1.0 - source.random()) / rate_per_s
        yield round(elapsed_s * NS_PER_S)

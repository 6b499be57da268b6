"""What one round of open load says of a rate, and the limits of a search among rates."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Literal

from loadtests.conditioning import COMPILERS_SHARE
from loadtests.reason import Reason
from loadtests.validity import (
    ERRORS_SHARE_LIMIT,
    FINDINGS,
    GENERATOR_CHECKS,
    SATURATED,
    Invalidity,
    spoils,
)

SERVER_CHECKS: Final = FINDINGS | {"warm"}
"""A round that does not pass these shows what the server does under such a rate, which p99 and errors judge.

Errors, wrong answers among them, are what overload looks like. Near its capacity p50 of a queue differs by
more than 10 % from one second to the next for ever, however warm the server is. It is warm after the rounds
at lower rates, and three rounds have to keep the limit.
"""

COMPILING: Final = "compilers_worked"

Phase = Literal["condition", "search", "confirm"]


@dataclass(frozen=True)
class RateMeasurement:
    """One round of open load: a point on the curve of p99 against rate.

    Attributes:
        rate_per_s: the offered rate.
        p99_ms: of successful requests, from the schedule; None with too few of them.
        errors_share: failed requests of all, 0 to 1.
        delivered: whether the generator was able to send that load.
        valid: whether nothing else, such as a noisy neighbour, made the round useless.
        reasons: why it was not delivered or not valid, and that compilers worked; otherwise none.
        phase: what it was for.
    """

    rate_per_s: float
    p99_ms: float | None
    errors_share: float
    delivered: bool = True
    valid: bool = True
    reasons: tuple[Reason, ...] = ()
    phase: Phase = field(default="search", compare=False)

    @property
    def saturated(self) -> bool:
        """Whether the generator had no more CPU time to give."""
        return self._has(SATURATED)

    @property
    def compiling(self) -> bool:
        """Whether the server's just-in-time compilers took CPU time that its answers waited for."""
        return self._has(COMPILING)

    def _has(self, code: str) -> bool:
        return any(reason.code == code for reason in self.reasons)


def as_measurement(
    rate_per_s: float,
    p99_ms: float | None,
    errors_share: float,
    found: Iterable[Invalidity],
    steal_share: float | None = None,
    compilers_share: float | None = None,
) -> RateMeasurement:
    """Make a measurement of a round and the checks it did not pass, which mean something else here.

    See GENERATOR_CHECKS and SERVER_CHECKS; every other check still makes the round useless. So does a
    generator with CPU time to spare that sent late while the host took its core: no limit of its own.
    `compilers_share`: of the server's CPU time, what its just-in-time compilers took; None if unknown.
    """
    said = [one for one in found if one.check not in SERVER_CHECKS]
    is_robbed = spoils("p99", steal_share) and all(one.code != SATURATED for one in said)
    own = GENERATOR_CHECKS - {"lateness"} if is_robbed else GENERATOR_CHECKS
    foreign = [one for one in said if one.check not in own]
    reasons: list[Reason] = list(said)
    if compilers_share is not None and compilers_share > COMPILERS_SHARE:
        reasons.append(Reason(COMPILING, {"share": compilers_share, "limit": COMPILERS_SHARE}))
    return RateMeasurement(
        rate_per_s=rate_per_s,
        p99_ms=p99_ms,
        errors_share=errors_share,
        delivered=len(foreign) == len(said),
        valid=not foreign,
        reasons=tuple(reasons),
    )


@dataclass(frozen=True)
class SearchLimits:
    """Where a search begins to be too fine, too far or too long.

    Attributes:
        resolution: relative; rates nearer to each other are not told apart.
        bound_resolution: the same, where it is coarser, below a rate that the generator did not send: what is
            found there is a bound.
        confirmations: rounds that a rate has to pass at the end.
        confirmations_failed: rounds that it may fail until then, each of which is followed by another.
        conditioning_rounds: at most so many rounds at the start rate, which count for nothing, until one
            keeps the limit: an open load warms what the closed one did not.
        compiling_rounds: at most so many instead for a server whose compilers work, until they rest; and
            afterwards at most so many more rounds that did not pass while they worked, measured again.
        tries: rounds of a rate in the search, one of which has to pass.
        rechecks: how often a search that has confirmed a rate goes on above, where the lowest rate that
            did not pass does now.
        recheck_steps: how many steps of the resolution that has to lead up to be confirmed as well. Near
            the limit a rate passes or does not by chance, and each confirmation takes as many rounds.
        min_rate_per_s, max_rate_per_s: rates outside are never measured.
        most_measurements: rounds of all kinds.
        most_invalid: of them, those that may be invalid and are measured again.
        errors_share: above it a rate breaks, whatever its p99 is.
    """

    resolution: float = 0.05
    bound_resolution: float = 0.0
    confirmations: int = 3
    confirmations_failed: int = 0
    conditioning_rounds: int = 0
    compiling_rounds: int = 0
    tries: int = 2
    rechecks: int = 0
    recheck_steps: int = 0
    min_rate_per_s: float = 1.0
    max_rate_per_s: float = 100_000.0
    most_measurements: int = 40
    most_invalid: int = 5
    errors_share: float = ERRORS_SHARE_LIMIT

    def __post_init__(self) -> None:
        if not (self.resolution > 0 and self.confirmations > 0 and self.most_measurements > 0):
            raise ValueError(f"resolution, confirmations and measurements are above zero, got {self}")
        if not 0 < self.min_rate_per_s <= self.max_rate_per_s < math.inf:
            raise ValueError(f"rates are above zero and the least not above the most, got {self}")

"""The highest rate of an open load that keeps p99 under a limit: double until it breaks, bisect, confirm.

The algorithm only; a callback measures. Nothing here is random: who measures gives each round its own seed.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Final, Literal

from loadtests.reason import Figure, Reason
from loadtests.validity import ERRORS_SHARE_LIMIT, FINDINGS, GENERATOR_CHECKS, Invalidity

SERVER_CHECKS: Final = FINDINGS | {"warm"}
"""A round that does not pass these shows what the server does under such a rate, which p99 and errors judge.

Errors, wrong answers among them, are what overload looks like. Near its capacity p50 of a queue differs by
more than 10 % from one second to the next for ever, however warm the server is. It is warm after the rounds
at lower rates, and three rounds have to keep the limit.
"""

Phase = Literal["search", "confirm"]
Outcome = Literal["found", "lower_bound", "none", "not_measured"]

DOUBLE: Final = 2.0
"""The largest step to the next rate while no bracket is known."""

S_PER_H: Final = 3600
MILLION: Final = 1_000_000


@dataclass(frozen=True)
class RateMeasurement:
    """One round of open load: a point on the curve of p99 against rate.

    Attributes:
        rate_per_s: the offered rate.
        p99_ms: of successful requests, from the schedule; None with too few of them.
        errors_share: failed requests of all, 0 to 1.
        delivered: whether the generator was able to send that load.
        valid: whether nothing else, such as a noisy neighbour, made the round useless.
        reasons: why it was not delivered or not valid; none when it was both.
        phase: what it was for.
    """

    rate_per_s: float
    p99_ms: float | None
    errors_share: float
    delivered: bool = True
    valid: bool = True
    reasons: tuple[Reason, ...] = ()
    phase: Phase = field(default="search", compare=False)


def as_measurement(
    rate_per_s: float, p99_ms: float | None, errors_share: float, found: Iterable[Invalidity]
) -> RateMeasurement:
    """Make a measurement of a round and the checks it did not pass, which mean something else here.

    See GENERATOR_CHECKS and SERVER_CHECKS; every other check still makes the round useless.
    """
    said = [one for one in found if one.check not in SERVER_CHECKS]
    foreign = [one for one in said if one.check not in GENERATOR_CHECKS]
    return RateMeasurement(
        rate_per_s=rate_per_s,
        p99_ms=p99_ms,
        errors_share=errors_share,
        delivered=len(foreign) == len(said),
        valid=not foreign,
        reasons=tuple(said),
    )


@dataclass(frozen=True)
class SearchLimits:
    """Where a search begins to be too fine, too far or too long.

    Attributes:
        resolution: relative; rates nearer to each other are not told apart.
        confirmations: rounds, all of which a rate has to pass at the end.
        min_rate_per_s, max_rate_per_s: rates outside are never measured.
        most_measurements: rounds of all kinds.
        most_invalid: of them, those that may be invalid and are measured again.
        errors_share: above it a rate breaks, whatever its p99 is.
    """

    resolution: float = 0.05
    confirmations: int = 3
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


@dataclass(frozen=True)
class SloResult:
    """What a search found.

    Attributes:
        outcome: `found`; `lower_bound`: the server would do more, but the generator or the search's own limit
            ends there; `none`: no rate meets the limit; `not_measured`: the search had to give up.
        rate_per_s: the confirmed rate of the first two outcomes, otherwise None.
        breaks_at_per_s: the lowest rate above it at which a round did not pass; None when there is none.
        reason: what the rate is, or why there is none.
        measurements: every round, in the order in which they were measured.
    """

    outcome: Outcome
    rate_per_s: float | None
    breaks_at_per_s: float | None
    reason: Reason
    measurements: tuple[RateMeasurement, ...]


Measure = Callable[[float], RateMeasurement]
"""Measures one round at a rate per second."""


def search(
    measure: Measure,
    *,
    p99_limit_ms: float,
    start_rate_per_s: float,
    first_step: float = DOUBLE,
    limits: SearchLimits | None = None,
) -> SloResult:
    """Find the highest rate at which p99 <= p99_limit_ms and errors stay within bounds.

    From the start the rate is doubled until it breaks, or halved until it passes; the gap between is bisected
    (geometrically) down to the resolution. Where an earlier search found a bracket, the start is its lower
    end and the first step leads to its upper one: if both ends still hold, nothing is left to bisect, and if
    they do not, each further step is the square of the one before, up to doubling. On the way a rate that
    does not pass gets a second round, so that one stray pause does not end the climb. Then the highest
    passing rate must pass all of some further rounds, with no second chance and the round that chose it not
    counted: an objective is a promise, and a search picks lucky rounds, so a majority would promise too much.
    If it fails, the next lower rate has its turn.

    Invalid rounds are neither passes nor failures: they are measured again, within a budget.

    Raises:
        ValueError: a start outside the limits' rates, or a first step that is not above 1.
    """
    limits = limits or SearchLimits()
    if not 1 < first_step < math.inf:
        raise ValueError(f"the first step is a factor above 1, got {first_step:g}")
    if not limits.min_rate_per_s <= start_rate_per_s <= limits.max_rate_per_s:
        raise ValueError(f"the start rate {start_rate_per_s:g} is outside of {limits}")
    return _Search(measure, p99_limit_ms, limits).run(start_rate_per_s, first_step)


def cost_per_million(rate_per_s: float, hourly_price: float) -> float:
    """Return what a million inferences cost at a steady rate, in the currency of the price.

    Args:
        rate_per_s: inferences per second, above 0 (requests times the rows of each).
        hourly_price: of the machine.
    """
    if not rate_per_s > 0:
        raise ValueError(f"a rate is above zero, got {rate_per_s}")
    return hourly_price / S_PER_H / rate_per_s * MILLION


def cost_interval(low_per_s: float, high_per_s: float, hourly_price: float) -> tuple[float, float]:
    """Return the costs that an interval of the rate means, the lower one first: from the higher rate."""
    return cost_per_million(high_per_s, hourly_price), cost_per_million(low_per_s, hourly_price)


class _Outcome(Enum):
    PASSED = "passed"
    BROKE = "broke"
    NOT_DELIVERED = "not delivered"


class _GiveUpError(Exception):
    """The search has used up what it may."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.code)
        self.reason = reason


class _Search:
    """The state of one search: all measurements, and the lowest rate that did not pass, with its outcome."""

    def __init__(self, measure: Measure, p99_limit_ms: float, limits: SearchLimits) -> None:
        self._measure = measure
        self._p99_limit_ms = p99_limit_ms
        self._limits = limits
        self._measurements: list[RateMeasurement] = []
        self._invalid_count = 0
        self._ceiling = math.inf
        self._ceiling_outcome = _Outcome.PASSED

    def run(self, start_per_s: float, first_step: float) -> SloResult:
        try:
            passing = self._bracket(start_per_s, first_step)
            confirmed = self._confirmed(self._bisect(passing)) if passing is not None else None
        except _GiveUpError as stop:
            return self._result("not_measured", None, stop.reason)
        return self._none() if confirmed is None else self._found(confirmed)

    def _bracket(self, start_per_s: float, step: float) -> float | None:
        if self._may_pass(start_per_s):
            return self._climb(start_per_s, step)
        return self._descend(start_per_s, step)

    def _climb(self, passing: float, step: float) -> float:
        """Step up until a rate does not pass; return the highest that does."""
        while passing < self._limits.max_rate_per_s:
            rate = min(step * passing, self._limits.max_rate_per_s)
            if not self._may_pass(rate):
                break
            passing, step = rate, min(step**2, max(step, DOUBLE))
        return passing

    def _descend(self, failing: float, step: float) -> float | None:
        """Step down until a rate passes; return it, or None when none does."""
        while failing > self._limits.min_rate_per_s:
            failing = max(failing / step, self._limits.min_rate_per_s)
            if self._may_pass(failing):
                return failing
            step = min(step**2, max(step, DOUBLE))
        return None

    def _bisect(self, passing: float) -> float:
        """Narrow the gap between the highest passing and the lowest failing rate down to the resolution."""
        while self._ceiling < math.inf and self._ceiling / passing > 1 + self._limits.resolution:
            middle = math.sqrt(passing * self._ceiling)
            if self._may_pass(middle):
                passing = middle
        return passing

    def _confirmed(self, candidate: float) -> float | None:
        """Step down until a rate passes every confirmation; return it, or None when none does."""
        while not all(self._passes(candidate) for _ in range(self._limits.confirmations)):
            if candidate <= self._limits.min_rate_per_s:
                return None
            candidate = max(candidate / (1 + self._limits.resolution), self._limits.min_rate_per_s)
        return candidate

    def _may_pass(self, rate_per_s: float) -> bool:
        """Return whether one of two rounds passes."""
        outcome = self._outcome(rate_per_s)
        if outcome is not _Outcome.PASSED:
            outcome = self._outcome(rate_per_s)
        return self._noted(rate_per_s, outcome)

    def _passes(self, rate_per_s: float) -> bool:
        return self._noted(rate_per_s, self._outcome(rate_per_s, "confirm"))

    def _noted(self, rate_per_s: float, outcome: _Outcome) -> bool:
        """Return whether the rate passed; a rate that did not is the ceiling: none above it is measured."""
        if outcome is not _Outcome.PASSED:
            self._ceiling, self._ceiling_outcome = rate_per_s, outcome
        return outcome is _Outcome.PASSED

    def _outcome(self, rate_per_s: float, phase: Phase = "search") -> _Outcome:
        """Measure until there is a valid round.

        Raises:
            _GiveUpError: no more measurements are allowed.
        """
        while True:
            found = self._next(rate_per_s, phase)
            if found.valid and not found.delivered:
                return _Outcome.NOT_DELIVERED
            if found.valid and found.errors_share > self._limits.errors_share:
                return _Outcome.BROKE
            if found.valid and found.p99_ms is not None:
                return _Outcome.PASSED if found.p99_ms <= self._p99_limit_ms else _Outcome.BROKE
            self._note_invalid(found)

    def _next(self, rate_per_s: float, phase: Phase) -> RateMeasurement:
        if len(self._measurements) >= self._limits.most_measurements:
            count = self._limits.most_measurements
            raise _GiveUpError(Reason("unsettled", {"rounds_count": count}))
        self._measurements.append(replace(self._measure(rate_per_s), phase=phase))
        return self._measurements[-1]

    def _note_invalid(self, found: RateMeasurement) -> None:
        self._invalid_count += 1
        if self._invalid_count > self._limits.most_invalid:
            last = found.reasons[0] if found.reasons else Reason("too_few_for_p99")
            figures = {**last.figures, "invalid_rounds_count": self._invalid_count, "last": last.code}
            raise _GiveUpError(Reason("invalid_rounds", figures))

    def _found(self, rate_per_s: float) -> SloResult:
        figures: dict[str, Figure] = {"p99_limit_ms": self._p99_limit_ms, "rate_per_s": rate_per_s}
        if self._ceiling_outcome is _Outcome.NOT_DELIVERED:
            return self._result("lower_bound", rate_per_s, Reason("generator_limit", figures))
        if self._ceiling_outcome is _Outcome.PASSED:
            return self._result("lower_bound", rate_per_s, Reason("highest_allowed", figures))
        return self._result("found", rate_per_s, Reason("limit_kept", figures))

    def _none(self) -> SloResult:
        if self._ceiling_outcome is _Outcome.NOT_DELIVERED:
            return self._result("not_measured", None, Reason("not_sent", {"rate_per_s": self._ceiling}))
        lowest: dict[str, Figure] = {
            "p99_limit_ms": self._p99_limit_ms,
            "min_rate_per_s": self._limits.min_rate_per_s,
        }
        return self._result("none", None, Reason("no_rate", lowest))

    def _result(
        self,
        outcome: Outcome,
        rate: float | None,
        reason: Reason,
    ) -> SloResult:
        ceiling = self._ceiling if self._ceiling < math.inf else None
        return SloResult(outcome, rate, ceiling, reason, tuple(self._measurements))

"""The highest rate of an open load that keeps p99 under a limit: double until it breaks, bisect, confirm.

The algorithm only; a callback measures. Nothing here is random: who measures gives each round its own seed.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final, Literal

from loadtests.rates import Phase, RateMeasurement, SearchLimits
from loadtests.reason import Figure, Reason

Outcome = Literal["found", "lower_bound", "none", "not_measured"]

DOUBLE: Final = 2.0
"""The largest step to the next rate while no bracket is known."""

ROUNDING: Final = 1 + 1e-9

S_PER_H: Final = 3600
MILLION: Final = 1_000_000


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


Measure = Callable[[float, Phase], RateMeasurement]
"""Measures one round at a rate per second, and is told what it is for."""


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
    passing rate must pass some further rounds, the round that chose it not counted: an objective is a
    promise, and a search picks lucky rounds, so a majority would promise too much. If it fails, the next
    lower rate has its turn. At last the lowest rate that broke is measured again: if it passes now, it broke
    because of what is over, such as a cold server, and the search climbs from it; what that finds is
    confirmed as well, if it is far enough above. Where the generator is the limit, what is found is a bound,
    for which a coarser resolution is good enough.

    Invalid rounds are neither passes nor failures: they are measured again, within a budget. So is a round
    that did not pass while the server's compilers worked, `compiling_rounds` times at most: a server that
    compiles for good is like that.

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
        rate_per_s: inferences per second, above 0.
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
    """The state of one search: all measurements, the rates that did not pass, and the highest confirmed."""

    def __init__(self, measure: Measure, p99_limit_ms: float, limits: SearchLimits) -> None:
        self._measure = measure
        self._p99_limit_ms = p99_limit_ms
        self._limits = limits
        self._measurements: list[RateMeasurement] = []
        self._invalid_count = 0
        self._compiling_left = limits.compiling_rounds
        self._broke: dict[float, _Outcome] = {}
        self._confirmed: float | None = None
        self._rechecked: dict[float, _Outcome] = {}

    def run(self, start_per_s: float, first_step: float) -> SloResult:
        try:
            self._search(start_per_s, first_step)
        except _GiveUpError as stop:
            if self._confirmed is None:
                return self._result("not_measured", None, stop.reason)
            self._broke = self._broke or self._rechecked
        return self._none() if self._confirmed is None else self._found(self._confirmed)

    @property
    def _ceiling(self) -> float:
        """The lowest rate that did not pass, and has not passed since; infinity without one."""
        return min(self._broke, default=math.inf)

    @property
    def _resolution(self) -> float:
        """The factor between rates that are told apart, below the ceiling that there is."""
        bounded = self._broke.get(self._ceiling) is _Outcome.NOT_DELIVERED
        return 1 + max(self._limits.resolution, self._limits.bound_resolution if bounded else 0)

    def _search(self, start_per_s: float, first_step: float) -> None:
        self._condition(start_per_s)
        passing = self._bracket(start_per_s, first_step)
        if passing is None:
            return
        self._confirm(self._bisect(passing))
        for _ in range(self._limits.rechecks):
            above = self._ceiling
            if self._confirmed is None or above == math.inf or not self._holds_now(above):
                return
            higher = self._bisect(self._climb(above, self._resolution))
            if higher * ROUNDING < self._confirmed * self._resolution**self._limits.recheck_steps:
                return
            self._confirm(higher)

    def _condition(self, rate_per_s: float) -> None:
        """Load the server before any round counts; a round that is invalid was a load as well."""
        compiled, enough = False, self._limits.conditioning_rounds
        for count in range(1, max(enough, self._limits.compiling_rounds) + 1):
            found = self._next(rate_per_s, "condition")
            if found.compiling and count < self._limits.compiling_rounds:
                compiled = True
            elif compiled or count >= enough or self._told(found) is _Outcome.PASSED:
                return

    def _holds_now(self, rate_per_s: float) -> bool:
        """Measure a rate that broke once more, after rounds at others; if it passes, no ceiling counts."""
        if self._outcome(rate_per_s) is not _Outcome.PASSED:
            return False
        self._rechecked, self._broke = self._broke, {}
        return True

    def _bracket(self, start_per_s: float, step: float) -> float | None:
        if self._may_pass(start_per_s, self._limits.tries):
            return self._climb(start_per_s, step)
        return self._descend(start_per_s, step)

    def _climb(self, passing: float, step: float) -> float:
        """Step up until a rate does not pass; return the highest that does."""
        while passing < self._limits.max_rate_per_s:
            rate = min(step * passing, self._limits.max_rate_per_s)
            if not self._may_pass(rate, self._tries(rate, passing)):
                break
            passing, step = rate, min(step**2, max(step, DOUBLE))
        return passing

    def _descend(self, failing: float, step: float) -> float | None:
        """Step down until a rate passes; return it, or None when none does."""
        while failing > self._limits.min_rate_per_s:
            failing = max(failing / step, self._limits.min_rate_per_s)
            if self._may_pass(failing, self._limits.tries):
                return failing
            step = min(step**2, max(step, DOUBLE))
        return None

    def _bisect(self, passing: float) -> float:
        """Narrow the gap between the highest passing and the lowest failing rate down to the resolution."""
        while self._ceiling < math.inf and self._ceiling / passing > self._resolution * ROUNDING:
            middle = math.sqrt(passing * self._ceiling)
            if self._may_pass(middle, self._tries(middle, passing)):
                passing = middle
        return passing

    def _confirm(self, candidate: float) -> None:
        """Step down until a rate is confirmed, to the one that is already at most; none may be."""
        least = self._limits.min_rate_per_s if self._confirmed is None else self._confirmed
        while not self._is_confirmed(candidate):
            if candidate <= least:
                return
            candidate = max(candidate / self._resolution, least)
            if candidate == self._confirmed:
                return
        self._confirmed = candidate

    def _is_confirmed(self, rate_per_s: float) -> bool:
        failed = passed = 0
        while passed < self._limits.confirmations:
            outcome = self._outcome(rate_per_s, "confirm")
            if outcome is _Outcome.PASSED:
                passed += 1
                continue
            failed += 1
            if failed > self._limits.confirmations_failed:
                self._broke[rate_per_s] = outcome
                return False
        return True

    def _tries(self, rate_per_s: float, passing: float) -> int:
        """Return how many rounds a rate gets: one where nothing is left to bisect, for that is rechecked."""
        closes = rate_per_s / passing <= self._resolution * ROUNDING
        return 1 if closes and self._limits.rechecks else self._limits.tries

    def _may_pass(self, rate_per_s: float, tries: int) -> bool:
        """Return whether one of some rounds passes; a rate that does not is a ceiling."""
        for _ in range(tries):
            outcome = self._outcome(rate_per_s)
            if outcome is _Outcome.PASSED:
                return True
            if outcome is _Outcome.NOT_DELIVERED and self._measurements[-1].saturated:
                break  # more of it would only fill queues: no pause does that
        self._broke[rate_per_s] = outcome
        return False

    def _told(self, found: RateMeasurement) -> _Outcome | None:
        """Return what a round says of its rate; None for one that is invalid or has too few requests."""
        if not found.valid:
            return None
        if not found.delivered:
            return _Outcome.NOT_DELIVERED
        if found.errors_share > self._limits.errors_share:
            return _Outcome.BROKE
        if found.p99_ms is None:
            return None
        return _Outcome.PASSED if found.p99_ms <= self._p99_limit_ms else _Outcome.BROKE

    def _outcome(self, rate_per_s: float, phase: Phase = "search") -> _Outcome:
        """Measure until there is a round that tells something of the warm server.

        Raises:
            _GiveUpError: no more measurements are allowed.
        """
        while True:
            found = self._next(rate_per_s, phase)
            outcome = self._told(found)
            if outcome is None:
                self._note_invalid(found)
            elif outcome is _Outcome.PASSED or not found.compiling or not self._compiling_left:
                return outcome
            else:
                self._compiling_left -= 1

    def _next(self, rate_per_s: float, phase: Phase) -> RateMeasurement:
        if len(self._measurements) >= self._limits.most_measurements:
            count = self._limits.most_measurements
            raise _GiveUpError(Reason("unsettled", {"rounds_count": count}))
        self._measurements.append(replace(self._measure(rate_per_s, phase), phase=phase))
        return self._measurements[-1]

    def _note_invalid(self, found: RateMeasurement) -> None:
        self._invalid_count += 1
        if self._invalid_count > self._limits.most_invalid:
            last = found.reasons[0] if found.reasons else Reason("too_few_for_p99")
            figures = {**last.figures, "invalid_rounds_count": self._invalid_count, "last": last.code}
            raise _GiveUpError(Reason("invalid_rounds", figures))

    def _found(self, rate_per_s: float) -> SloResult:
        figures: dict[str, Figure] = {"p99_limit_ms": self._p99_limit_ms, "rate_per_s": rate_per_s}
        above = self._broke.get(self._ceiling)
        if above is _Outcome.NOT_DELIVERED:
            return self._result("lower_bound", rate_per_s, Reason("generator_limit", figures))
        if above is None:
            return self._result("lower_bound", rate_per_s, Reason("highest_allowed", figures))
        return self._result("found", rate_per_s, Reason("limit_kept", figures))

    def _none(self) -> SloResult:
        if self._broke.get(self._ceiling) is _Outcome.NOT_DELIVERED:
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

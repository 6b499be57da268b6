"""One configuration's search for its highest rate, which ends as soon as it cannot be the best.

The searched rate is a bracket: from the highest that kept the limit to the lowest that did not. A
configuration whose bracket ends at what another one sustains cannot win, and is measured no further.
"""

from dataclasses import dataclass, field
from typing import Literal

from loadtests.rates import Phase, RateMeasurement, SearchLimits
from loadtests.reason import Reason
from loadtests.slo import DOUBLE, Measure, search

RESOLUTION = 0.1
LIMITS = SearchLimits(
    resolution=RESOLUTION, confirmations=1, min_rate_per_s=5.0, most_measurements=18, most_invalid=3
)
HEADROOM = 1.25
"""A challenger is first asked so far below what it has to beat: most pass there, and have a rate to show."""

Outcome = Literal["found", "lower_bound", "none", "not_measured", "beaten"]


class _BeatenError(Exception):
    """Raised inside a search: whatever the rest of it would find, it is not the highest."""


@dataclass(frozen=True)
class Bracket:
    """What a trial found, and all that was measured."""

    outcome: Outcome
    rate_per_s: float | None
    breaks_at_per_s: float | None
    reason: Reason
    measurements: tuple[RateMeasurement, ...]


@dataclass
class _Watched:
    """Measures for a search, and stops it when a rate has failed twice below what has to be beaten."""

    measure: Measure
    p99_limit_ms: float
    to_beat_per_s: float | None
    errors_share: float
    measurements: list[RateMeasurement] = field(default_factory=list)
    passed_per_s: float | None = None
    ceiling_per_s: float | None = None
    _last_failed_per_s: float | None = None
    _looks_below: int = 0

    def __call__(self, rate_per_s: float, phase: Phase) -> RateMeasurement:
        if self._is_beaten():
            if self.passed_per_s is not None or self._looks_below:
                raise _BeatenError
            self._looks_below += 1  # one look, so that there is something to show
        measurement = self.measure(rate_per_s, phase)
        self.measurements.append(measurement)
        if measurement.valid:
            self._note(measurement)
        return measurement

    def _note(self, measurement: RateMeasurement) -> None:
        rate = measurement.rate_per_s
        within_limit = measurement.p99_ms is not None and measurement.p99_ms <= self.p99_limit_ms
        if measurement.delivered and within_limit and measurement.errors_share <= self.errors_share:
            self.passed_per_s = max(rate, self.passed_per_s or rate)
            self._last_failed_per_s = None
        elif measurement.delivered:
            if self._last_failed_per_s == rate:
                self.ceiling_per_s = min(rate, self.ceiling_per_s or rate)
            self._last_failed_per_s = rate

    def _is_beaten(self) -> bool:
        if self.to_beat_per_s is None or self.ceiling_per_s is None:
            return False
        return self.ceiling_per_s <= beating(self.to_beat_per_s)


def beating(rate_per_s: float) -> float:
    """Return the lowest rate that a search can tell from `rate_per_s`, with room for rounding."""
    return rate_per_s * (1 + RESOLUTION) * (1 + 1e-9)


def bracket(
    measure: Measure,
    *,
    p99_limit_ms: float,
    start_rate_per_s: float,
    to_beat_per_s: float | None,
    limits: SearchLimits = LIMITS,
) -> Bracket:
    """Find the highest rate that keeps the limit, as far as it matters.

    Args:
        measure: measures one round at a rate per second.
        start_rate_per_s: where to begin while there is nothing to beat.
        to_beat_per_s: the highest rate of another configuration; None for the first one.
    """
    watched = _Watched(measure, p99_limit_ms, to_beat_per_s, limits.errors_share)
    start, step = start_rate_per_s, DOUBLE
    if to_beat_per_s is not None:
        start = max(to_beat_per_s / HEADROOM, limits.min_rate_per_s)
        step = max(to_beat_per_s * (1 + limits.resolution) / start, 1 + limits.resolution)
    try:
        outcome = search(
            watched, p99_limit_ms=p99_limit_ms, start_rate_per_s=start, first_step=step, limits=limits
        )
    except _BeatenError:
        figures = {"p99_limit_ms": p99_limit_ms, "breaks_at_per_s": watched.ceiling_per_s or 0.0}
        return Bracket(
            "beaten",
            watched.passed_per_s,
            watched.ceiling_per_s,
            Reason("beaten", {**figures, "to_beat_per_s": to_beat_per_s or 0.0}),
            tuple(watched.measurements),
        )
    return Bracket(
        outcome.outcome, outcome.rate_per_s, outcome.breaks_at_per_s, outcome.reason, outcome.measurements
    )

"""What a search's time is spent on: most of it on trials, the rest on fresh servers for the claim."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from pipelines.compare.slo import least_round_s
from pipelines.config.profiles import Profile
from pipelines.config.settings import RunSettings
from pipelines.errors import RequestError
from pipelines.measure.session import SERVER_START_S, USUAL_CONDITIONING_S, round_s
from pipelines.record.tune import TuneTrialRecord

LEAST_TRIALS = 3
"""Of a side: two presets, and something that was searched."""
TRIAL_ROUNDS, FINAL_ROUNDS = 4, 10
"""Usual numbers of a trial that is beaten, and of a search from a known bracket with its confirmations."""
LEAST_FINAL_ROUNDS = 20
"""A search on fresh servers may have so many rounds whatever the time is."""
LEAST_BLOCKS, MOST_BLOCKS = 2, 6


def least_blocks(profile: Profile) -> int:
    """Return the blocks of fresh servers that a claim needs; one block alone gives no interval."""
    return min(LEAST_BLOCKS, profile.blocks)


@dataclass
class Budget:
    """The time of a search, in seconds of a clock that only rises.

    Attributes:
        within_s: for everything from the first server on.
        earlier_s: used before the search was interrupted.
        starts_s: how long servers took until they were steady, as far as that is known.
        rounds_s: how long a round took in each trial: at low rates longer, for a p99 needs so many requests.
        trials_s: how long trials took.
    """

    settings: RunSettings
    within_s: float
    earlier_s: float = 0.0
    clock: Callable[[], float] = time.monotonic
    starts_s: list[float] = field(default_factory=list)
    rounds_s: list[float] = field(default_factory=list)
    trials_s: list[float] = field(default_factory=list)
    _began_s: float = field(init=False)

    def __post_init__(self) -> None:
        self.begin(self.earlier_s)

    def begin(self, earlier_s: float) -> None:
        """Let the time run from now on, with what was used before an interruption."""
        self.earlier_s, self._began_s = earlier_s, self.clock()

    @property
    def elapsed_s(self) -> float:
        """Used so far, before an interruption too."""
        return self.earlier_s + self.clock() - self._began_s

    @property
    def start_s(self) -> float:
        """A fresh server until it is steady: the longest seen, at first a guess."""
        usual_s = SERVER_START_S + min(USUAL_CONDITIONING_S, self.settings.profile.conditioning_limit_s)
        return max(self.starts_s, default=usual_s)

    @property
    def round_s(self) -> float:
        """The next round: the mean of all trials', at first a guess."""
        return (
            sum(self.rounds_s) / len(self.rounds_s)
            if self.rounds_s
            else round_s(self.settings, least_round_s(self.settings.profile))
        )

    def note(self, trial: TuneTrialRecord) -> None:
        """Learn from a trial how long things take here."""
        self.trials_s.append(trial.duration_s)
        if trial.start_s is not None:
            self.starts_s.append(trial.start_s)
            if trial.points:
                self.rounds_s.append((trial.duration_s - trial.start_s) / len(trial.points))

    @property
    def trial_s(self) -> float:
        """The next trial: the longest of the last three, at first a guess."""
        return max(self.trials_s[-3:], default=self.start_s + TRIAL_ROUNDS * self.round_s)

    def final_s(self, sides_count: int) -> float:
        """Return the seconds that the claim needs, on fresh servers of `sides_count` sides."""
        search_s = self.start_s + FINAL_ROUNDS * self.round_s
        return least_blocks(self.settings.profile) * sides_count * search_s

    def final_rounds(self, searches_left: int, starts_left: int) -> int:
        """Return the rounds that the next search on fresh servers may have, if all get an equal part.

        Args:
            searches_left: of all blocks that there have to be, the next one among them.
            starts_left: servers that are still to be started for them.
        """
        left_s = self.within_s - self.elapsed_s - starts_left * self.start_s
        return max(int(left_s / searches_left / self.round_s), LEAST_FINAL_ROUNDS)

    def allows_trial(self, final_sides_count: int, share: float) -> bool:
        """Return whether there is time for another trial in the first `share` of what the claim leaves."""
        return self.elapsed_s + self.trial_s <= share * (self.within_s - self.final_s(final_sides_count))

    def require(self, sides_count: int, final_sides_count: int) -> None:
        """Refuse a time in which nothing could be found.

        Raises:
            RequestError: it is too short, with what is needed.
        """
        needed_s = sides_count * LEAST_TRIALS * self.trial_s + self.final_s(final_sides_count)
        if self.within_s < needed_s:
            raise RequestError(
                f"--within is {self.within_s / 60:.3g}min; {LEAST_TRIALS} configurations a side and fresh "
                f"servers of {final_sides_count} need about {-(-needed_s // 60):.0f}min; give as much, or "
                "fewer sides"
            )

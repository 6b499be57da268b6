"""Blocks until it is decided: a look at what was asked after every block, and when to end."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from pipelines.judge.summarise import summarise
from pipelines.record.comparison import ComparisonRecord
from pipelines.record.reason import reason
from pipelines.record.run import RunRecord
from pipelines.record.sequential import Asked, LookRecord
from pipelines.run.run import UNFINISHED, Run

UNDECIDED = (None, "inconclusive")


@dataclass
class Deciding:
    """Ends a comparison when what was asked is decided, or before its time would be exceeded.

    Attributes:
        limit_s: time for all blocks, from now on.
        clock: seconds that only rise.
        decided: whether all that was asked is decided, where that is not the primary metric's verdicts.
        asked: what was asked, where that is not the primary metric.
    """

    run: Run
    limit_s: float
    clock: Callable[[], float] = time.monotonic
    decided: Callable[[RunRecord], bool] | None = None
    asked: Asked | None = None
    _started_s: float = field(init=False)
    _last_s: float = field(init=False)
    _longest_s: float = 0.0

    def __post_init__(self) -> None:
        self._started_s = self._last_s = self.clock()

    def enough(self, blocks_count: int) -> bool:
        """Look at the verdicts after so many blocks; True where they are decided or the time is used.

        Whether it is the last look is known before it, by the time that blocks have taken and by nothing that
        they showed: it spends what is left of the error.
        """
        now_s = self.clock()
        self._longest_s = max(self._longest_s, now_s - self._last_s)
        self._last_s = now_s
        elapsed_s = now_s - self._started_s
        is_last = (
            elapsed_s + self._longest_s > self.limit_s or blocks_count >= self.run.settings.profile.blocks
        )
        share = 1.0 if is_last else elapsed_s / self.limit_s
        look = LookRecord(
            blocks_count=blocks_count, elapsed_s=elapsed_s, time_share=share, decided=False, asked=self.asked
        )
        self.run.looks.append(look)
        is_decided_now = self.decided or is_decided
        decided = is_decided_now(summarise(self.run.record("interrupted", UNFINISHED), self.run.folder))
        self.run.looks[-1] = look.model_copy(update={"decided": decided})
        self.run.save()
        left = "it is decided" if decided else "the time is up" if is_last else "not decided yet"
        self.run.session.say(f"after {blocks_count} blocks and {elapsed_s:.0f} s: {left}")
        if decided or is_last:
            self._note()
            return True
        # A profile's are for its few blocks; here every further block has as many.
        self.run.session.allow_retries()
        return False

    def _note(self) -> None:
        last = self.run.looks[-1]
        figures = {
            "blocks_count": last.blocks_count,
            "looks_count": len(self.run.looks),
            "elapsed_s": last.elapsed_s,
            "limit_s": self.limit_s,
        }
        code = "decided" if last.decided else "time_up"
        self.run.warnings.append(reason(f"{self.asked}_{code}" if self.asked else code, **figures))


def is_decided(record: RunRecord) -> bool:
    """Return whether every verdict on the primary metric is decided."""
    primary = [comparison for comparison in record.comparisons if comparison.is_primary]
    return bool(primary) and all(map(_decided, primary))


def _decided(comparison: ComparisonRecord) -> bool:
    return comparison.verdict not in UNDECIDED

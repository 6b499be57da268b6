"""Checks by name: all of them run, those that depend on a failed one say so, and none hides another."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from loadtests.errors import LoadTestError
from pipelines.errors import UserError
from pipelines.tasks.tasks import Progress

State = Literal["passed", "failed", "skipped"]


class CheckError(Exception):
    """A check failed; the message is one sentence with what was found and what was expected."""


class NotApplicableError(Exception):
    """A check has nothing to look at here; the message says why."""


@dataclass(frozen=True)
class Outcome:
    """What one check found.

    Attributes:
        name: stable id, "SUBJECT.CHECK".
        sentence: what it makes sure of, for people.
        detail: what was found; why, for a failed or skipped one.
    """

    name: str
    sentence: str
    state: State
    detail: str
    elapsed_s: float


@dataclass
class Checklist:
    """Runs checks in order and keeps their outcomes."""

    progress: Progress
    outcomes: list[Outcome] = field(default_factory=list)

    def run(self, name: str, sentence: str, action: Callable[[], str], needs: Sequence[str] = ()) -> bool:
        """Run one check, unless one it needs did not pass; returns whether it passed.

        Args:
            name: stable id.
            sentence: what it makes sure of.
            action: says what it found; raises CheckError, NotApplicableError, UserError, OSError, or what
                reading an answer of another form than expected raises.
            needs: ids of checks that must have passed.
        """
        missing = next((need for need in needs if not self.passed(need)), None)
        if missing is not None:
            return self._note(name, sentence, "skipped", f"because {missing} did not pass", 0.0)
        self.progress("smoke", f"{name}: {sentence}")
        started = time.monotonic()
        state: State = "passed"
        try:
            detail = action()
        except NotApplicableError as error:
            state, detail = "skipped", f"because {error}"
        except (CheckError, UserError, OSError) as error:
            state, detail = "failed", str(error) or repr(error)
        except (LookupError, TypeError, ValueError, AttributeError, LoadTestError) as error:
            state, detail = "failed", f"an answer has another form than expected: {error!r}"
        return self._note(name, sentence, state, detail, time.monotonic() - started)

    def _note(self, name: str, sentence: str, state: State, detail: str, elapsed_s: float) -> bool:
        self.outcomes.append(Outcome(name, sentence, state, " ".join(detail.split()), elapsed_s))
        return state == "passed"

    def passed(self, name: str) -> bool:
        """Return whether the check with that id ran and passed."""
        return any(outcome.name == name and outcome.state == "passed" for outcome in self.outcomes)

    @property
    def failures(self) -> list[Outcome]:
        """Failed checks, in the order they ran."""
        return [outcome for outcome in self.outcomes if outcome.state == "failed"]


def require(condition: bool, message: str) -> None:
    """Raise CheckError with `message` unless the condition holds."""
    if not condition:
        raise CheckError(message)

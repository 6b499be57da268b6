"""What every server's start has in common, wherever it lives: entering, leaving, waiting until ready."""

import re
import time
from abc import ABC, abstractmethod
from contextlib import suppress
from dataclasses import replace
from types import TracebackType
from typing import ClassVar, NoReturn, Self

from pydantic import ValidationError

from pipelines.errors import MachineError
from pipelines.record.implementation import GivenRecord
from pipelines.runners.server import Place
from pipelines.targets.server_plan import ServerPlan


class StartedServer(ABC):
    """Use as a context manager: leaving it ends the server, however it is left.

    Attributes:
        plan: what is running.
        started: monotonic seconds at its start.
        poll_s: how often it is asked whether it is ready.
        dying_limit_s: once it is silent, how long it is watched whether it is about to end.
        dying_look_s: how often.
    """

    plan: ServerPlan
    started: float = 0.0
    poll_s: ClassVar[float] = 0.1
    dying_limit_s: ClassVar[float] = 0.0
    dying_look_s: ClassVar[float] = 0.5
    place: Place = "cores"

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            with suppress(MachineError):
                self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # What went wrong before says more than that it cannot be ended either.
        with suppress(*((MachineError,) if error else ())):
            self.stop()

    def wait_ready(self) -> float:
        """Wait until the server itself says it is ready; returns seconds since its start.

        Raises:
            MachineError: it ended, or was not ready within the plan's limit; its last log lines are shown.
        """
        deadline = self.started + self.plan.launch.ready_limit_s
        unready = "nothing listens yet"
        while time.monotonic() < deadline:
            self._watch()
            try:
                answer = self.plan.endpoint.status()
            except OSError as error:
                unready = str(error)
            else:
                if answer is None:
                    return time.monotonic() - self.started
                unready = answer
                self._watch_unready()
            time.sleep(self.poll_s)
        raise MachineError(
            f"{self.plan.target} was not ready within {self.plan.launch.ready_limit_s:.0f} s ({unready}); "
            f"its last log lines: {self._last_lines()}"
        )

    def read_configuration(self) -> None:
        """Ask the running server how it is configured; what it does not tell stays unknown."""
        if self.plan.endpoint.configuration is None:
            return
        with suppress(OSError, ValidationError):
            configuration = self.plan.given.model_dump() | dict(self.plan.endpoint.configuration())
            self.plan = replace(self.plan, given=GivenRecord.model_validate(configuration))

    @abstractmethod
    def require_alive(self, when: str) -> None:
        """Raise MachineError if it has ended, with the cause and its last log lines."""

    def explain_silence(self, when: str) -> NoReturn:
        """Raise MachineError with why it stopped answering: how it ended says more than that it is silent."""
        ends = time.monotonic() + self.dying_limit_s
        self.require_alive(when)
        while time.monotonic() < ends:
            time.sleep(self.dying_look_s)
            self.require_alive(when)
        raise MachineError(f"{self.plan.target} stopped answering {when}; see its log in the run")

    @abstractmethod
    def start(self) -> None:
        """Start it; returns before it is ready.

        Raises:
            MachineError: it cannot be started.
        """

    @abstractmethod
    def stop(self) -> None:
        """End it; harmless if it has ended."""

    def _watch(self) -> None:
        """Look at a server that is not ready yet.

        Raises:
            MachineError: it never will be.
        """
        try:
            self.require_alive("at start")
        except MachineError:
            # The reason in its log tells more than its exit code and last lines.
            self._require_no_failure()
            raise

    def _require_no_failure(self) -> None:
        pattern = self.plan.launch.failure_pattern
        match = re.search(pattern, self._recent_log()) if pattern else None
        if match:
            raise MachineError(f"{self.plan.target} cannot serve the model: {match.group(1)}")

    @abstractmethod
    def _recent_log(self) -> str:
        """Return the end of its log, at least what came since the last look; empty if it cannot be read."""

    @abstractmethod
    def _watch_unready(self) -> None:
        """Look once more at a server that answers and says it is not ready; raises as `_watch`."""

    @abstractmethod
    def _last_lines(self) -> str:
        """Return the end of the container's log, in one line."""

"""What measuring needs of a server, wherever it lives; a runner makes them."""

from contextlib import AbstractContextManager
from types import TracebackType
from typing import Literal, NoReturn, Protocol, Self

from pipelines.targets.server_plan import ServeRequest, ServerPlan

Place = Literal["cores", "here", "hidden", "elsewhere"]
"""Where a server's CPU time is spent: on the cores it was given; on this machine, on whichever cores; there
too, in processes that cannot be seen; or on another machine."""


class Server(Protocol):
    """One server. Entering starts it; leaving ends it and all it started, however it is left.

    Attributes:
        plan: what is planned or running. A container's addresses are known when it runs, not before.
        started: monotonic seconds at its start.
        place: where its CPU time is spent.
    """

    @property
    def place(self) -> Place: ...  # noqa: D102 - described above

    @property
    def plan(self) -> ServerPlan: ...  # noqa: D102 - described above

    @property
    def started(self) -> float: ...  # noqa: D102 - described above

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def wait_ready(self) -> float:
        """Wait until the server itself says it is ready; returns seconds since its start.

        Raises:
            MachineError: it ended, or was not ready within the plan's limit.
        """
        ...

    def read_configuration(self) -> None:
        """Ask the running server how it is configured; the plan says it afterwards."""
        ...

    def require_alive(self, when: str) -> None:
        """Raise MachineError if the server or a part of it has ended, with the cause and last log lines."""
        ...

    def explain_silence(self, when: str) -> NoReturn:
        """Raise MachineError with why it stopped answering, as far as that can be found out."""
        ...

    def pause(self) -> None:
        """Stop it from running, without its taking part."""
        ...

    def resume(self) -> None:
        """Let it run again; harmless if it does."""
        ...

    def memory_bytes(self) -> int | None:
        """Return the memory that the server holds now, shared pages counted once; None if it is gone."""
        ...

    def peak_bytes(self) -> int | None:
        """Return the server's peak memory; None if the kernel does not count it."""
        ...

    def cpu_s(self) -> float | None:
        """Return its CPU seconds so far, with all that worked for it alone; None if not known."""
        ...

    @property
    def pid(self) -> int:
        """Process id of its first process, as this machine sees it."""
        ...


class Runner(Protocol):
    """Where servers live."""

    @property
    def name(self) -> str: ...  # noqa: D102 - "local" or "docker", as run.json has it

    def prepare(self, target: str, request: ServeRequest) -> AbstractContextManager[Server]:
        """Plan a server without starting it; leaving the context leaves nothing behind.

        Raises:
            RequestError: the target has no server, or a setting is wrong.
            MachineError: something it needs is missing.
        """
        ...

"""A running endpoint: a server that Tandem asks, and never starts, pauses or ends.

What cannot be known of it is None: what it was given, how long it took to start, what it holds. Its CPU is
known where it listens on this machine and /proc tells which process that is.
"""

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, NoReturn, Self

import psutil

from models.spec import ModelSpec
from pipelines.access import Access
from pipelines.errors import MachineError
from pipelines.machine.listening import is_here, listeners
from pipelines.record.implementation import GivenRecord, ImplementationRecord
from pipelines.runners.local import process_cpu_s, process_tree
from pipelines.runners.server import Place
from pipelines.targets import oip
from pipelines.targets.address import URL, Address
from pipelines.targets.apis import Told, introduce, status
from pipelines.targets.endpoint import Endpoint
from pipelines.targets.launch import Launch
from pipelines.targets.protocols import Protocol
from pipelines.targets.server_plan import ServerPlan

PRESET: Final = "not known"
CONNECT_TRIES = 3
CONNECT_PAUSE_S = 0.3
NOBODY = GivenRecord(
    cores=(),
    workers_count=None,
    threads_per_worker=None,
    batch_max_size=None,
    memory_limit_bytes=None,
)


@dataclass(frozen=True)
class RunningSide:
    """A running endpoint, as a side of a comparison.

    Attributes:
        name: of the side.
        protocol: how it is asked.
    """

    name: str
    address: Address
    protocol: Protocol
    access: Access


class RunningServer:
    """Entering starts nothing, leaving ends nothing; `started` is when it was first talked to."""

    started: float = 0.0

    def __init__(
        self, side: RunningSide, plan: ServerPlan, place: Place, pids: frozenset[int] | None
    ) -> None:
        self.plan = plan
        self.place = place
        self._side = side
        self._pids = pids
        self._tree: list[psutil.Process] = []

    def __enter__(self) -> Self:
        self.started = time.monotonic()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave it as it is."""

    def wait_ready(self) -> float:
        """Make sure that it says that it is ready; returns 0, since its start was not seen.

        Raises:
            MachineError: it is not, or does not answer.
        """
        try:
            unready = status(self._side.address, self._side.access)
        except OSError as error:
            raise MachineError(
                f"{self._side.name}: {self._side.address} stopped answering: {error}"
            ) from error
        if unready is not None:
            raise MachineError(f"{self._side.name}: {self._side.address} is not ready: {unready}")
        return 0.0

    def read_configuration(self) -> None:
        """Do nothing: what the server was given is not known."""

    def require_alive(self, when: str) -> None:
        """Raise MachineError if nothing listens at the address any more."""
        address = self._side.address
        for attempt in range(CONNECT_TRIES):
            try:
                with socket.create_connection((address.host, address.port), self._side.access.timeout_s):
                    return
            except OSError as error:
                last = error
                time.sleep(CONNECT_PAUSE_S if attempt < CONNECT_TRIES - 1 else 0)
        raise MachineError(f"{self._side.name}: nothing answers at {address} {when}: {last}")

    def explain_silence(self, when: str) -> NoReturn:
        """Raise MachineError: it has no log that could be looked at."""
        self.require_alive(when)
        raise MachineError(f"{self._side.name} stopped answering {when}")

    def pause(self) -> None:
        """Do nothing: the server may have others to serve."""

    def resume(self) -> None:
        """Look which processes there are now, before they are measured."""
        if self._pids:
            own = {process.pid: process for pid in self._pids for process in process_tree(pid)}
            self._tree = list(own.values())

    def memory_bytes(self) -> int | None:
        """Return None: the server's memory is not known from here."""
        return None

    def peak_bytes(self) -> int | None:
        """Return None, as `memory_bytes` does."""
        return None

    def cpu_s(self) -> float | None:
        """Return the CPU seconds of the processes that listen there, with their children; None if unknown."""
        return sum(map(process_cpu_s, self._tree)) if self._tree else None

    @property
    def pid(self) -> int:
        """0: it is no process of ours."""
        return 0


def where_is(address: Address) -> tuple[Place, frozenset[int] | None]:
    """Find where a server's CPU time is spent, and its processes as far as they are known.

    Raises:
        MachineError: there is no such host.
    """
    try:
        here = is_here(address.host, address.port)
    except OSError as error:
        raise MachineError(f"{address}: there is no host {address.host!r}: {error}") from error
    if not here:
        return "elsewhere", None
    pids = listeners(address.port)
    return ("here" if pids else "hidden"), pids


def cores_seen(address: Address) -> frozenset[int]:
    """Return the CPU cores that the processes of a server may use; empty where they cannot be seen from here.

    Raises:
        MachineError: there is no such host.
    """
    cores: set[int] = set()
    for pid in where_is(address)[1] or ():
        for process in process_tree(pid):
            with suppress(psutil.Error):
                cores.update(process.cpu_affinity())
    return frozenset(cores)


@contextmanager
def running(side: RunningSide, spec: ModelSpec, work: Path) -> Iterator[RunningServer]:
    """Yield the server at the side's address, once it has reported that it serves a model like `spec`.

    Raises:
        RequestError, GateError, MachineError: see `introduce`.
    """
    metadata = introduce(side.name, side.address, side.access, spec)
    place, pids = where_is(side.address)
    yield RunningServer(side, _plan(side, spec, metadata, work), place, pids)


def _plan(side: RunningSide, spec: ModelSpec, metadata: Told, work: Path) -> ServerPlan:
    address, tensors = side.address, metadata.tensors
    return ServerPlan(
        target=side.name,
        implementation=ImplementationRecord(
            name=metadata.name,
            version=metadata.version,
            runner=URL,
            preset=PRESET,
            protocol=side.protocol.name,
            body=side.protocol.codec,
            stand_in=False,
            note=f"somebody else's server at {address}",
        ),
        given=NOBODY,
        launch=Launch(cwd=work, log=work / "server.log"),
        endpoint=Endpoint(
            base_url=address.base_url,
            predict_path=side.protocol.path,
            model=address.model,
            status=lambda: status(address, side.access),
            addresses={side.protocol.name: str(address)},
            access=side.access,
            hint=oip.surplus_inputs(spec, tensors, named=metadata.named) if tensors is not None else "",
        ),
    )

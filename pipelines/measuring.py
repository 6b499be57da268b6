"""Measuring: blocks of fresh servers, rounds in rotated order, invalid rounds again within a budget.

Knows nothing of models or reports: who takes part comes as contestants, what was measured is kept by name.
"""

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from loadtests.payloads import PayloadPool
from loadtests.rounds import PlannedRound, block_rounds, rotated
from loadtests.validity import FINDINGS
from pipelines import serving
from pipelines.config import MeasureSettings
from pipelines.contestants import Contestant
from pipelines.driving import Driven, drive, pool_file
from pipelines.errors import MachineError
from pipelines.record import ColdStartRecord, MemoryRecord, ParityRecord, RoundRecord
from pipelines.runners.server import Server
from pipelines.targets.server_plan import ServerPlan
from pipelines.workers import Progress

# Rough figures for the time shown beforehand: process start-ups around each round and each server.
ROUND_OVERHEAD_S = 1.8
USUAL_WARMUP_S = 1.6
SERVER_START_S = 7.0


@dataclass
class Measured:
    """What has been measured of one contestant so far."""

    plan: ServerPlan | None = None
    pool: PayloadPool | None = None
    endpoint_parity: ParityRecord | None = None
    idle_bytes: int | None = None
    peak_bytes: int | None = None
    memory_source: str | None = None
    cold_starts: list[ColdStartRecord] = field(default_factory=list)
    rounds: list[RoundRecord] = field(default_factory=list)

    def note_memory(self, server: Server) -> None:
        """Keep the largest: of the kernel's own peaks where it counts them, else of the samples."""
        peak = server.peak_bytes()
        found = server.memory_bytes() if peak is None else peak
        if found is not None:
            self.peak_bytes = max(found, self.peak_bytes or 0)
            self.memory_source = "pss" if server.plan.implementation.runner == "local" else "cgroup"

    @property
    def memory(self) -> MemoryRecord:
        """The samples taken, as run.json holds them."""
        return MemoryRecord(idle_bytes=self.idle_bytes, peak_bytes=self.peak_bytes, source=self.memory_source)


@dataclass
class Session:
    """A run on its way.

    Attributes:
        folder: runs/ID; has the folders samples and logs.
        on_plans: called when all servers of the first block are planned and none is started, and again when
            they run and say what they were given.
        on_round: called after every measured round.
        counted: whether it is known beforehand how many rounds there will be.
        retries_left: how many more invalid rounds may be measured again.
        measured: by contestant, in their order.
    """

    settings: MeasureSettings
    contestants: Sequence[Contestant]
    folder: Path
    progress: Progress
    on_plans: Callable[[], None]
    on_round: Callable[[], None]
    counted: bool = True
    retries_left: int = 0
    rounds_count: int = 0
    planned_count: int = 0
    measured: dict[str, Measured] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.measured = {contestant.name: Measured() for contestant in self.contestants}
        self.retries_left = self.settings.profile.retries
        if self.counted:
            self.planned_count = planned_rounds(self.settings, self.contestants)

    def of_block(self, block: int) -> list[Contestant]:
        """Who takes part in that block."""
        return [contestant for contestant in self.contestants if contestant.takes_part(block)]

    def say(self, text: str) -> None:
        """Show where the run is."""
        done = f"{self.rounds_count} rounds"
        if self.counted:
            done = f"{self.rounds_count}/{self.planned_count} rounds, about {self.left_s():.0f} s left"
        self.progress("measure", f"[{done}] {text}")

    def left_s(self) -> float:
        """Roughly how long the rest takes, in seconds."""
        left = max(0, self.planned_count - self.rounds_count)
        starts_count = sum(len(self.of_block(block)) for block in range(self.settings.profile.blocks))
        starts_left = left / max(1, self.planned_count) * starts_count
        return left * round_s(self.settings) + starts_left * SERVER_START_S


def planned_rounds(settings: MeasureSettings, contestants: Sequence[Contestant]) -> int:
    """Rounds of a whole comparison, without any that have to be measured again."""
    profile = settings.profile
    servers_count = sum(one.takes_part(block) for block in range(profile.blocks) for one in contestants)
    return servers_count * profile.rounds * len(profile.loads)


def round_s(settings: MeasureSettings) -> float:
    """Roughly how long one round takes, in seconds."""
    profile = settings.profile
    return min(USUAL_WARMUP_S, profile.warmup_limit_s) + profile.round_s + ROUND_OVERHEAD_S


def measure_blocks(session: Session) -> None:
    """All rounds of a comparison."""
    profile = session.settings.profile
    for block in range(profile.blocks):
        names = [contestant.name for contestant in session.of_block(block)]
        with fresh_servers(session, block) as servers:
            for planned in block_rounds(block, names, profile.loads, profile.rounds):
                measure_round(session, planned, servers)


@contextmanager
def fresh_servers(session: Session, block: int) -> Iterator[dict[str, Server]]:
    """A fresh server of everyone in this block, right answers proven, all paused; ended with the block."""
    with ExitStack() as stack:
        ordered = rotated(session.of_block(block), block)
        planned = [
            (contestant, stack.enter_context(_planned(session, contestant, block))) for contestant in ordered
        ]
        if block == 0:
            session.on_plans()
        servers: dict[str, Server] = {}
        for contestant, server in planned:
            implementation = server.plan.implementation
            told = f"{implementation.name} {implementation.version}"
            session.say(f"block {block + 1}: starting {contestant.name}, {told}")
            servers[contestant.name] = stack.enter_context(server)
            session.measured[contestant.name].plan = server.plan
            _prove(session, contestant, server, block)
            server.pause()
        if block == 0:
            session.on_plans()
        yield servers


@contextmanager
def _planned(session: Session, contestant: Contestant, block: int) -> Iterator[Server]:
    """A server that is planned and not started; its log is kept in the run when the block ends."""
    with serving.work_folder() as work, contestant.prepare(work) as server:
        session.measured[contestant.name].plan = server.plan
        try:
            yield server
        finally:
            _keep_log(session, server.plan.log, f"{contestant.name}-block{block}.log")


def _keep_log(session: Session, log: Path, name: str) -> None:
    """Copy a server's log into the run. A disk that refuses must not hide what ended the run."""
    if not log.is_file():
        return
    try:
        shutil.copyfile(log, session.folder / "logs" / name)
    except OSError as error:
        session.say(f"the log {name} could not be kept: {error.strerror or error}")


def _prove(session: Session, contestant: Contestant, server: Server, block: int) -> None:
    """Ready and right on one sample; its first server right on every held-out sample, over the wire."""
    measured = session.measured[contestant.name]
    if measured.pool is None:
        measured.pool = contestant.pool(server.plan.predict_path)
        measured.pool.save(pool_file(session.folder, contestant.name))
    ready = serving.wait_until_right(server, measured.pool)
    measured.plan = server.plan  # the running server has said how it is configured
    measured.cold_starts.append(ready.as_record(block))
    if block == contestant.first_block:
        if contestant.prove is not None:
            session.say(f"checking every held-out answer of {contestant.name}")
            measured.endpoint_parity = contestant.prove(server)
        measured.idle_bytes = server.memory_bytes()
    measured.note_memory(server)


def measure_round(session: Session, planned: PlannedRound, servers: dict[str, Server]) -> RoundRecord:
    """Measure a round, and again while it is invalid and the budget allows; returns the last attempt.

    A round that fails because of the server (`FINDINGS`) is a result and not measured again.

    Raises:
        MachineError: the server died or stopped answering, or the generator failed.
        KeyboardInterrupt: somebody asked to stop; what was measured is kept.
    """
    attempt = 0
    while True:
        record = measure_once(session, planned, attempt, servers).record
        if record.valid or session.retries_left <= 0 or FINDINGS.intersection(record.failed_checks):
            return record
        session.retries_left -= 1
        session.planned_count += 1
        attempt += 1
        session.say(f"measuring again: {record.invalid_reasons[0]}")


def measure_once(
    session: Session,
    planned: PlannedRound,
    attempt: int,
    servers: dict[str, Server],
    round_s: float | None = None,
) -> Driven:
    """Measure a round, valid or not, `round_s` seconds or as long as the profile says.

    Raises:
        As `measure_round`.
    """
    server, measured = servers[planned.target], session.measured[planned.target]
    session.say(f"block {planned.block + 1}: {planned.target} under {planned.load}")
    server.resume()
    try:
        driven = drive(
            planned,
            attempt,
            session.rounds_count,
            server,
            list(servers.values()),
            session.settings,
            session.folder,
            round_s,
        )
        measured.note_memory(server)
    finally:
        server.pause()
    measured.rounds.append(driven.record)
    session.rounds_count += 1
    session.on_round()
    _require_server(driven, server)
    if driven.stopped:
        raise KeyboardInterrupt
    return driven


def _require_server(driven: Driven, server: Server) -> None:
    server.require_alive(f"in round {driven.record.index}")
    if driven.server_gone:
        raise MachineError(
            f"{server.plan.target} stopped answering in round {driven.record.index}; see its log in the run"
        )

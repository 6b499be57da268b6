"""Measuring: blocks of fresh servers, rounds in rotated order, invalid rounds again within a budget.

Knows nothing of models or reports: who takes part comes as sides, what was measured is kept by name.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from loadtests.arrivals import parse_load
from loadtests.conditioning import Second
from loadtests.drift import Drift, find_drift
from loadtests.payloads import PayloadPool
from loadtests.rounds import PlannedRound, block_rounds, rotated
from loadtests.validity import is_finding
from pipelines.config import MeasureSettings
from pipelines.errors import MachineError
from pipelines.files.log_ends import copy_ends
from pipelines.judge.summarise import summarise_round
from pipelines.measure.conditioning import LEAST_S, condition
from pipelines.measure.round import Driven, bodies_file, drive, pool_file
from pipelines.measure.sides import Side
from pipelines.record.conditioning import ConditioningRecord, DriftRecord
from pipelines.record.parity import ParityRecord
from pipelines.record.reason import reason
from pipelines.record.rounds import RoundRecord
from pipelines.record.target import BlockPeakRecord, ColdStartRecord, MemoryRecord
from pipelines.report.sentences import sentence
from pipelines.runners.server import Server
from pipelines.serve import readiness
from pipelines.targets.server_plan import ServerPlan
from pipelines.targets.side import file_stem
from pipelines.tasks.tasks import Progress

# Rough figures for the time shown beforehand: process start-ups around each round and each server.
ROUND_OVERHEAD_S = 1.8
USUAL_WARMUP_S = 1.6
SERVER_START_S = 7.0
USUAL_CONDITIONING_S = 20.0
# How often the rounds of a block are measured again because a server still drifted.
MOST_AGAIN = 2


@dataclass
class Measured:
    """What has been measured of one side so far."""

    plan: ServerPlan | None = None
    pool: PayloadPool | None = None
    endpoint_parity: ParityRecord | None = None
    idle_bytes: int | None = None
    peaks_bytes: dict[int, int] = field(default_factory=dict)
    memory_source: str | None = None
    cold_starts: list[ColdStartRecord] = field(default_factory=list)
    rounds: list[RoundRecord] = field(default_factory=list)
    conditionings: list[ConditioningRecord] = field(default_factory=list)
    drifts: list[DriftRecord] = field(default_factory=list)

    def pool_of(self, side: Side) -> PayloadPool:
        """The side's requests and expected answers, encoded once; its server has to be planned."""
        if self.pool is None:
            assert self.plan is not None  # noqa: S101 - whoever asks has planned the server
            self.pool = side.pool(self.plan.endpoint.predict_path)
        return self.pool

    def conditioned_s(self, block: int) -> float:
        """Seconds of conditioning that its server of this block has had."""
        return sum(one.duration_s for one in self.conditionings if one.block == block)

    def note_memory(self, server: Server, block: int) -> None:
        """Keep the block's largest: the kernel's own peak where it counts that, else of the samples."""
        peak = server.peak_bytes()
        found = server.memory_bytes() if peak is None else peak
        if found is not None:
            self.peaks_bytes[block] = max(found, self.peaks_bytes.get(block, 0))
            self.memory_source = "pss" if server.plan.implementation.runner == "local" else "cgroup"

    @property
    def memory(self) -> MemoryRecord:
        """The samples taken, as run.json holds them."""
        peaks = tuple(BlockPeakRecord(block=block, peak_bytes=n) for block, n in self.peaks_bytes.items())
        return MemoryRecord(
            idle_bytes=self.idle_bytes,
            peak_bytes=max(self.peaks_bytes.values(), default=None),
            source=self.memory_source,
            block_peaks=peaks,
        )


def nobody_listens() -> None:
    """Ignore that something happened in a session."""


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
        round_s: how long rounds are, from the profile's least to its most; set by the first conditionings.
        measured: by side, in their order.
    """

    settings: MeasureSettings
    sides: Sequence[Side]
    folder: Path
    progress: Progress
    on_plans: Callable[[], None] = nobody_listens
    on_round: Callable[[], None] = nobody_listens
    counted: bool = True
    retries_left: int = 0
    round_s: float = 0.0
    rounds_count: int = 0
    planned_count: int = 0
    measured: dict[str, Measured] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.measured = {side.name: Measured() for side in self.sides}
        self.retries_left = self.settings.profile.retries
        self.round_s = self.settings.profile.round_s
        if self.counted:
            self.planned_count = planned_rounds(self.settings, self.sides)

    def of_block(self, block: int) -> list[Side]:
        """Who takes part in that block."""
        return [side for side in self.sides if side.takes_part(block)]

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
        start_s = SERVER_START_S + min(USUAL_CONDITIONING_S, self.settings.profile.conditioning_limit_s)
        return left * (round_s(self.settings, self.round_s)) + starts_left * start_s


def planned_rounds(settings: MeasureSettings, sides: Sequence[Side]) -> int:
    """Rounds of a whole comparison, without any that have to be measured again."""
    profile = settings.profile
    servers_count = sum(one.takes_part(block) for block in range(profile.blocks) for one in sides)
    return servers_count * profile.rounds * len(profile.loads)


def round_s(settings: MeasureSettings, window_s: float | None = None) -> float:
    """Roughly how long one round takes, in seconds, with a window of `window_s` or as the profile says."""
    profile = settings.profile
    return min(USUAL_WARMUP_S, profile.warmup_limit_s) + (window_s or profile.round_s) + ROUND_OVERHEAD_S


def measure_blocks(session: Session, enough: Callable[[int], bool] | None = None) -> None:
    """All rounds of a comparison, or of as many blocks as it takes.

    Args:
        enough: told how many blocks are measured, after each; True ends it. None for all of the profile's.
    """
    profile = session.settings.profile
    for block in range(profile.blocks):
        with fresh_servers(session, block) as servers:
            for load in profile.loads:
                measure_until_level(session, block, load, servers)
        if enough is not None and enough(block + 1):
            return


def measure_until_level(session: Session, block: int, load: str, servers: dict[str, Server]) -> None:
    """The rounds of one load in one block, and all of them again while those of a server still climb.

    What climbs is conditioned further in between, as far as the budget of its conditioning allows. What falls
    is put on record: more load would not end that, and it widens the interval.
    """
    for attempt in itertools.count():
        _measure_load(session, block, load, servers)
        drifts = _drifts(session, block, load, servers)
        climbing = {name: drift for name, drift in drifts.items() if drift.climbs}
        again = attempt < MOST_AGAIN and _condition_further(session, block, climbing, servers)
        for name, drift in drifts.items():
            record = DriftRecord(block=block, load=load, change=drift.change, resolved=again)
            session.measured[name].drifts.append(record)
        if not again:
            return
        _set_aside(session, block, load, climbing)


def _measure_load(session: Session, block: int, load: str, servers: dict[str, Server]) -> None:
    names = [side.name for side in session.of_block(block)]
    for planned in block_rounds(block, names, [load], session.settings.profile.rounds):
        measure_round(session, planned, servers)


def _drifts(session: Session, block: int, load: str, servers: dict[str, Server]) -> dict[str, Drift]:
    """By name, the servers whose valid rounds drift; without conditioning nobody is expected to be level."""
    if not session.settings.profile.conditioning_limit_s:
        return {}
    found = {}
    for name in servers:
        rounds = [r for r in session.measured[name].rounds if (r.block, r.load) == (block, load) and r.valid]
        drift = find_drift([speed for r in rounds if (speed := _speed(r, session.folder))])
        if drift is not None:
            found[name] = drift
    return found


def _speed(record: RoundRecord, folder: Path) -> float | None:
    """Higher is faster: throughput of a closed load; of an open one, whose rate is given, 1 / p50."""
    figures = summarise_round(record, folder)
    if not parse_load(record.load).is_open:
        return figures.throughput_per_s
    return 1 / figures.latency_ms.p50 if figures.latency_ms.p50 else None


def _condition_further(
    session: Session, block: int, drifts: dict[str, Drift], servers: dict[str, Server]
) -> bool:
    """Condition every server that climbs once more; False where none does or the budget is used up."""
    limit_s = session.settings.profile.conditioning_limit_s
    left_s = {name: limit_s - session.measured[name].conditioned_s(block) for name in drifts}
    if not drifts or min(left_s.values()) < LEAST_S:
        return False
    for name, drift in drifts.items():
        session.say(f"the rounds of {name} still changed by {drift.change:+.0%}")
        servers[name].resume()
        _condition(session, name, servers[name], block, left_s[name])
        servers[name].pause()
    return True


def _set_aside(session: Session, block: int, load: str, drifts: dict[str, Drift]) -> None:
    """Mark the rounds of all servers that are about to be measured again: a pair has the same conditions."""
    changes = tuple(drift.change for drift in drifts.values())
    why = reason("drifted", sides=tuple(drifts), changes=changes)
    for measured in session.measured.values():
        for place, record in enumerate(measured.rounds):
            if (record.block, record.load) == (block, load) and record.valid:
                measured.rounds[place] = record.model_copy(
                    update={"valid": False, "invalid_reasons": (why,), "failed_checks": ("drift",)}
                )
                session.planned_count += 1
    session.on_round()


@contextmanager
def fresh_servers(session: Session, block: int) -> Iterator[dict[str, Server]]:
    """A fresh server of everyone in this block, right answers proven, all paused; ended with the block."""
    with ExitStack() as stack:
        ordered = rotated(session.of_block(block), block)
        planned = [(side, stack.enter_context(_planned(session, side, block))) for side in ordered]
        if block == 0:
            session.on_plans()
        servers: dict[str, Server] = {}
        for side, server in planned:
            implementation = server.plan.implementation
            told = f"{implementation.name} {implementation.version}"
            session.say(f"block {block + 1}: starting {side.name}, {told}")
            servers[side.name] = stack.enter_context(server)
            session.measured[side.name].plan = server.plan
            _prove(session, side, server, block)
            if session.settings.profile.conditioning_limit_s:
                limit_s = session.settings.profile.conditioning_limit_s
                _condition(session, side.name, server, block, limit_s)
            server.pause()
        if block == 0:
            session.on_plans()
        yield servers


@contextmanager
def _planned(session: Session, side: Side, block: int) -> Iterator[Server]:
    """A server that is planned and not started; its log is kept in the run when the block ends."""
    with readiness.work_folder() as work, side.prepare(work) as server:
        session.measured[side.name].plan = server.plan
        try:
            yield server
        finally:
            _keep_log(session, server.plan.launch.log, f"{file_stem(side.name)}-block{block}.log")


def _keep_log(session: Session, log: Path, name: str) -> None:
    """Keep a server's log in the run, by its ends. A disk that refuses must not hide what ended the run."""
    if not log.is_file():
        return
    try:
        copy_ends(log, session.folder / "logs" / name)
    except OSError as error:
        session.say(f"the log {name} could not be kept: {error.strerror or error}")


def _prove(session: Session, side: Side, server: Server, block: int) -> None:
    """Ready and right on one sample; its first server right on every held-out sample, over the wire."""
    measured = session.measured[side.name]
    pool = measured.pool_of(side)
    if block == side.first_block:
        pool.save(pool_file(session.folder, side.name), bodies_file(session.folder, pool.codec))
    ready = readiness.wait_until_right(server, pool)
    measured.plan = server.plan  # the running server has said how it is configured
    measured.cold_starts.append(ready.as_record(block))
    if block == side.first_block:
        if side.prove is not None:
            session.say(f"checking every held-out answer of {side.name}")
            measured.endpoint_parity = side.prove(server, pool)
        measured.idle_bytes = server.memory_bytes()
    measured.note_memory(server, block)


def _condition(session: Session, name: str, server: Server, block: int, limit_s: float) -> None:
    """Load the server until it is steady, and let rounds be as long as its p50 wanders."""
    measured = session.measured[name]
    number = sum(one.block == block for one in measured.conditionings)
    samples = session.folder / "samples" / f"conditioning-block{block}-{file_stem(name)}-{number}.parquet"
    seconds: list[Second] = []

    def tell(second: Second) -> None:
        seconds.append(second)
        session.say(f"block {block + 1}: conditioning {name}, {len(seconds)} s, {second.requests_count}/s")

    pool = pool_file(session.folder, name)
    found = condition(server, pool, samples, block, session.settings, limit_s, tell)
    measured.conditionings.append(found.record)
    if found.stopped:
        raise KeyboardInterrupt
    if block == 0:
        longest_s = session.settings.profile.longest_round_s or session.round_s
        session.round_s = min(longest_s, max(session.round_s, found.round_needed_s or 0.0))


def measure_round(session: Session, planned: PlannedRound, servers: dict[str, Server]) -> RoundRecord:
    """Measure a round, and again while it is invalid and the budget allows; returns the last attempt.

    A round that fails because of the server (a finding) is a result and not measured again.

    Raises:
        MachineError: the server died or stopped answering, or the generator failed.
        KeyboardInterrupt: somebody asked to stop; what was measured is kept.
    """
    earlier = session.measured[planned.target].rounds
    attempt = sum(_place(record) == _place(planned) for record in earlier)
    while True:
        record = measure_once(session, planned, attempt, servers).record
        if record.valid or session.retries_left <= 0 or is_finding(record.failed_checks):
            return record
        session.retries_left -= 1
        session.planned_count += 1
        attempt += 1
        session.say(f"measuring again: {sentence(record.invalid_reasons[0])}")


def _place(one: PlannedRound | RoundRecord) -> tuple[int, str, int]:
    return one.block, one.load, one.repetition


def _batching(server: Server) -> tuple[int, int] | None:
    """Requests answered so far and runs of the model that this took; None where the server does not tell."""
    ask = getattr(server.plan.endpoint, "batching", None)
    with suppress(OSError):
        return ask() if ask else None
    return None


def _with_batches(driven: Driven, before: tuple[int, int] | None, after: tuple[int, int] | None) -> Driven:
    """The round with how many requests shared a run of the model, by the server's own count."""
    if before is None or after is None or after[1] <= before[1]:
        return driven
    mean = (after[0] - before[0]) / (after[1] - before[1])
    return replace(driven, record=driven.record.model_copy(update={"requests_per_run": round(mean, 3)}))


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
        before = _batching(server)
        driven = drive(
            planned,
            attempt,
            session.rounds_count,
            server,
            list(servers.values()),
            session.settings,
            session.folder,
            round_s or session.round_s,
        )
        driven = _with_batches(driven, before, _batching(server))
        measured.note_memory(server, planned.block)
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

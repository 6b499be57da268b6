"""Measuring: blocks of fresh servers, rounds in rotated order, invalid rounds again within a budget.

Knows nothing of models or reports: who takes part comes as sides, what was measured is kept by name.
"""

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from loadtests.rounds import PlannedRound, block_rounds, rotated
from loadtests.validity import P99_STEAL_LIMIT, is_finding, spoils
from pipelines.files.log_ends import copy_ends
from pipelines.measure import level
from pipelines.measure.round import Driven, bodies_file, drive, pool_file
from pipelines.measure.session import Session
from pipelines.measure.sides import Side
from pipelines.record.conditioning import DriftRecord
from pipelines.record.reason import ReasonRecord, reason
from pipelines.record.rounds import RoundRecord
from pipelines.report.sentences import sentence
from pipelines.runners.server import Server
from pipelines.serve import readiness
from pipelines.targets.address import URL
from pipelines.targets.side import file_stem
from pipelines.targets.timings import Timings, parts_ms

# How often the rounds of a block are measured again because a server still drifted.
MOST_AGAIN = 2


def measure_blocks(session: Session, enough: Callable[[int], bool] | None = None) -> None:
    """Measure all rounds of a comparison, or of as many blocks as it takes.

    Args:
        enough: told how many blocks are measured, after each; True ends it. None for all of the profile's.
    """
    profile = session.settings.profile
    for block in range(profile.blocks):
        with fresh_servers(session, block) as servers:
            for load in profile.loads:
                measure_until_level(session, block, load, servers)
            if block == 0:
                session.on_measured()
        if enough is not None and enough(block + 1):
            return


def measure_until_level(session: Session, block: int, load: str, servers: dict[str, Server]) -> None:
    """Measure one load in one block, and all of its rounds again while those of a server still climb.

    What climbs is conditioned further in between, as far as the budget of its conditioning allows. What falls
    is put on record: more load would not end that, and it widens the interval.
    """
    for attempt in itertools.count():
        _measure_load(session, block, load, servers)
        drifts = level.find_drifts(session, block, load, servers)
        climbing = {name: drift for name, drift in drifts.items() if drift.climbs}
        again = attempt < MOST_AGAIN and level.condition_further(session, block, climbing, servers)
        for name, drift in drifts.items():
            record = DriftRecord(block=block, load=load, change=drift.change, resolved=again)
            session.measured[name].drifts.append(record)
        if not again:
            return
        level.set_aside(session, block, load, climbing)


def _measure_load(session: Session, block: int, load: str, servers: dict[str, Server]) -> None:
    names = [side.name for side in session.of_block(block)]
    for planned in block_rounds(block, names, [load], session.settings.profile.rounds):
        measure_round(session, planned, servers)


@contextmanager
def fresh_servers(session: Session, block: int) -> Iterator[dict[str, Server]]:
    """Yield a fresh server of every side in this block, correct and steady, all paused; end them with it."""
    with ExitStack() as stack:
        stack.enter_context(session.generator)
        stack.enter_context(session.machine_speed.probing(session.settings.cores))
        ordered = rotated(session.of_block(block), block)
        planned = [(side, stack.enter_context(_planned(session, side, block))) for side in ordered]
        if block == 0:
            session.on_plans()
        servers: dict[str, Server] = {}
        for side, server in planned:
            implementation = server.plan.implementation
            described = f"{implementation.name} {implementation.version}"
            does = "asking" if implementation.runner == URL else "starting"
            session.say(f"block {block + 1}: {does} {side.name}, {described}")
            servers[side.name] = stack.enter_context(server)
            session.measured[side.name].plan = server.plan
            session.measured[side.name].place = server.place
            _prove(session, side, server, block)
            server.pause()
        if block == 0:
            session.on_plans()
        limit_s = session.settings.profile.conditioning_limit_s
        if limit_s:
            level.condition_servers(session, block, dict.fromkeys(servers, limit_s), servers)
        yield servers


@contextmanager
def _planned(session: Session, side: Side, block: int) -> Iterator[Server]:
    """Yield a server that is planned and not started; keep its log in the run when the block ends."""
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
    """Prove a server right on one sample; in its first block on every held-out sample, over the wire."""
    measured = session.measured[side.name]
    pool = measured.pool_of(side)
    if block == side.first_block:
        pool.save(pool_file(session.folder, side.name), bodies_file(session.folder, pool.codec))
    ready = readiness.wait_until_right(server, pool)
    measured.plan = server.plan  # the running server has said how it is configured
    if server.plan.implementation.runner != URL:
        measured.cold_starts.append(ready.as_record(block))
    if block == side.first_block:
        if side.prove is not None:
            session.say(f"checking every held-out answer of {side.name}")
            measured.endpoint_parity = side.prove(server, pool)
        measured.idle_bytes = server.memory_bytes()
    measured.note_memory(server, block)


def measure_round(session: Session, planned: PlannedRound, servers: dict[str, Server]) -> RoundRecord:
    """Measure a round, and again while it is invalid and the budget allows; returns the last attempt.

    So is one whose primary figure is spoilt by stolen time. A round that fails because of the server (a
    finding) is a result and not measured again.

    Raises:
        MachineError: the server died or stopped answering, or the generator failed.
        KeyboardInterrupt: the user asked to stop; what was measured is kept.
    """
    earlier = session.measured[planned.target].rounds
    attempt = sum(_place(record) == _place(planned) for record in earlier)
    while True:
        record = measure_once(session, planned, attempt, servers).record
        why = _why_again(session, record)
        if why is None or session.retries_left <= 0 or is_finding(record.failed_checks):
            return record
        session.retries_left -= 1
        session.planned_count += 1
        attempt += 1
        session.say(f"measuring again: {sentence(why)}")


def _why_again(session: Session, record: RoundRecord) -> ReasonRecord | None:
    if not record.valid:
        return record.invalid_reasons[0]
    settings, share = session.settings, record.cpu_steal_share
    if settings.profile.verdicts and spoils(settings.primary, share):
        return reason("cpu_stolen", share=share or 0.0, limit=P99_STEAL_LIMIT)
    return None


def _place(planned: PlannedRound | RoundRecord) -> tuple[int, str, int]:
    return planned.block, planned.load, planned.repetition


def _batching(server: Server) -> tuple[int, int] | None:
    """Return requests answered and model runs they took so far; None if the server does not report them."""
    ask = getattr(server.plan.endpoint, "batching", None)
    with suppress(OSError):
        return ask() if ask else None
    return None


def _with_batches(driven: Driven, before: tuple[int, int] | None, after: tuple[int, int] | None) -> Driven:
    """Add the requests per run of the model to the round, by the server's own count."""
    if before is None or after is None or after[1] <= before[1]:
        return driven
    mean = (after[0] - before[0]) / (after[1] - before[1])
    return replace(driven, record=driven.record.model_copy(update={"requests_per_run": round(mean, 3)}))


def _timings(server: Server) -> Timings | None:
    """Return where the time of its requests went so far; None where the server does not tell."""
    ask = getattr(server.plan.endpoint, "timings", None)
    with suppress(OSError, ValueError, KeyError):
        return ask() if ask else None
    return None


def measure_once(
    session: Session,
    planned: PlannedRound,
    attempt: int,
    servers: dict[str, Server],
    round_s: float | None = None,
    timeout_s: float | None = None,
) -> Driven:
    """Measure a round, valid or not; lengths and time-out are the run's where they are not given.

    Raises:
        As `measure_round`.
    """
    server, measured = servers[planned.target], session.measured[planned.target]
    session.say(f"block {planned.block + 1}: {planned.target} under {planned.load}")
    server.resume()
    try:
        before, timings = _batching(server), _timings(server)
        driven = drive(session, planned, attempt, servers, round_s, timeout_s)
        driven = _with_batches(driven, before, _batching(server))
        parts = parts_ms(timings, _timings(server))
        driven = replace(driven, record=driven.record.model_copy(update={"parts_ms": parts}))
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
    when = f"in round {driven.record.index}"
    server.require_alive(when)
    if driven.server_gone:
        server.explain_silence(when)

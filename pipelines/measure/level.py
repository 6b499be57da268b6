"""Are servers level? Fresh ones are conditioned until they are, and rounds that still drift are set aside."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from loadtests.arrivals import parse_load
from loadtests.conditioning import Second
from loadtests.drift import Drift, find_drift
from pipelines.judge.summarise import summarise_round
from pipelines.measure.conditioning import LEAST_S, Conditioning
from pipelines.measure.round import pool_file
from pipelines.measure.session import Session
from pipelines.record.reason import reason
from pipelines.record.rounds import RoundRecord
from pipelines.runners.server import Server
from pipelines.targets.side import file_stem


def condition_servers(
    session: Session, block: int, limits_s: Mapping[str, float], servers: Mapping[str, Server]
) -> None:
    """Load paused servers, by name, until each is steady or has used up its seconds; all are paused again.

    They take turns, as rounds do: a server is warmed by what it will meet, which is connections that come and
    go and pauses while others are loaded. Whatever ends this, the curves so far are on record.

    Raises:
        MachineError: a server stopped answering, or the generator failed.
        KeyboardInterrupt: the user asked to stop.
    """
    turns = {
        name: _conditioning(session, name, servers[name], block, limit_s)
        for name, limit_s in limits_s.items()
    }
    try:
        while waiting := {
            name: conditioning for name, conditioning in turns.items() if not conditioning.is_over
        }:
            for name, conditioning in waiting.items():
                servers[name].resume()
                try:
                    conditioning.turn()
                finally:
                    servers[name].pause()
    finally:
        for name, conditioning in turns.items():
            session.measured[name].conditionings.extend(conditioning.records())
    if block == 0:
        _adapt_round_length(session, [conditioning.round_needed_s() for conditioning in turns.values()])


def _conditioning(session: Session, name: str, server: Server, block: int, limit_s: float) -> Conditioning:
    number = sum(earlier.block == block for earlier in session.measured[name].conditionings)
    stem = f"conditioning-block{block}-{file_stem(name)}-{number}"

    def tell(seconds: Sequence[Second]) -> None:
        speed = f"{len(seconds)} s, {seconds[-1].requests_count}/s"
        session.say(f"block {block + 1}: conditioning {name}, {speed}")

    pool = pool_file(session.folder, name)
    return Conditioning(
        session.generator,
        server,
        pool,
        session.folder / "samples" / stem,
        block,
        session.settings,
        limit_s,
        tell,
    )


def _adapt_round_length(session: Session, needed_s: list[float | None]) -> None:
    """Let rounds be as long as p50 wanders, from the profile's least to its most."""
    longest_s = session.settings.profile.longest_round_s or session.round_s
    session.round_s = min(longest_s, max([session.round_s, *(needed or 0.0 for needed in needed_s)]))


def find_drifts(session: Session, block: int, load: str, servers: Mapping[str, Server]) -> dict[str, Drift]:
    """Find the servers whose valid rounds drift, by name; without conditioning none has to be level."""
    if not session.settings.profile.conditioning_limit_s:
        return {}
    drifts = {}
    for name in servers:
        rounds = [r for r in session.measured[name].rounds if (r.block, r.load) == (block, load) and r.valid]
        known = [(speed, r.server_probe_ms) for r in rounds if (speed := _speed(r, session.folder))]
        drift = find_drift([speed for speed, _ in known], [probe_ms for _, probe_ms in known])
        if drift is not None:
            drifts[name] = drift
    return drifts


def _speed(record: RoundRecord, folder: Path) -> float | None:
    """Return a speed: a closed load's throughput; of an open one, whose rate is given, 1 / p50."""
    figures = summarise_round(record, folder)
    if not parse_load(record.load).is_open:
        return figures.throughput_per_s
    return 1 / figures.latency_ms.p50 if figures.latency_ms.p50 else None


def condition_further(
    session: Session, block: int, drifts: Mapping[str, Drift], servers: Mapping[str, Server]
) -> bool:
    """Condition every server that climbs once more; False where none does or the budget is used up."""
    limit_s = session.settings.profile.conditioning_limit_s
    left_s = {name: limit_s - session.measured[name].conditioned_s(block) for name in drifts}
    if not drifts or min(left_s.values()) < LEAST_S:
        return False
    for name, drift in drifts.items():
        session.say(f"the rounds of {name} still changed by {drift.change:+.0%}")
    condition_servers(session, block, left_s, servers)
    return True


def set_aside(session: Session, block: int, load: str, drifts: Mapping[str, Drift]) -> None:
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

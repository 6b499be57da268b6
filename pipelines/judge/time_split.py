"""Where the time of a request went: what servers told in their rounds, against the measured p50."""

from collections.abc import Mapping, Sequence

from loadtests.arrivals import parse_load
from pipelines.record.reason import reason
from pipelines.record.rounds import RoundRecord
from pipelines.record.target import SummaryRecord, TargetRecord
from pipelines.record.time_split import TimeSplitRecord
from pipelines.targets.timings import PARTS
from pipelines.units import MS_PER_S

# The parts have to add up to p50 within this share of it.
ALLOWED_SHARE = 0.10
TOGETHER = {"decode": "codec", "encode": "codec"}
# Only some servers have one.
OPTIONAL = ("frontend", "codec")


def judge_time_split(
    summary: SummaryRecord, rounds: Sequence[RoundRecord], floor: SummaryRecord | None
) -> TimeSplitRecord | None:
    """Split a request's time under one load; return None without a p50 or any known part.

    Args:
        rounds: of that load.
        floor: the null server's, asked in the same way under the same load.
    """
    p50 = summary.latency_ms.p50
    means = _means([record for record in rounds if record.valid and record.parts_ms])
    transport = _transport_ms(floor)
    if p50 is None or not means:
        return None
    known_parts = {**({} if transport is None else {"transport": transport}), **means}
    parts = {part: known_parts[part] for part in PARTS if part in known_parts}
    unexplained = p50 - sum(parts.values())
    share = unexplained / p50
    missing = tuple(
        part
        for part in PARTS
        if part not in OPTIONAL and part not in parts and TOGETHER.get(part, part) not in parts
    )
    reasons = (
        (reason("unexplained", unexplained_ms=unexplained, share=share, missing=missing),)
        if abs(share) > ALLOWED_SHARE
        else ()
    )
    return TimeSplitRecord(
        p50_ms=p50,
        parts_ms=parts,
        unexplained_ms=unexplained,
        unexplained_share=share,
        reasons=reasons,
    )


def _means(rounds: Sequence[RoundRecord]) -> dict[str, float]:
    """Average the parts that every round tells, weighted by the rounds' requests."""
    if not rounds:
        return {}
    weight = sum(record.requests_count for record in rounds)
    common = [part for part in PARTS if all(part in record.parts_ms for record in rounds)]
    return {
        part: sum(record.parts_ms[part] * record.requests_count for record in rounds) / weight
        for part in common
        if weight
    }


def _transport_ms(floor: SummaryRecord | None) -> float | None:
    """Return the null server's time; under closed load, where its clients queue, one over its rate."""
    if floor is None:
        return None
    if parse_load(floor.load).is_open:
        return floor.latency_ms.p50
    return MS_PER_S / floor.throughput_per_s if floor.throughput_per_s else None


def floor_of(target: TargetRecord, load: str, targets: Mapping[str, TargetRecord]) -> SummaryRecord | None:
    """Return the null server's summary under that load, asked as `target` was; None if there is none."""
    way = target.implementation.protocol, target.implementation.body
    for other in targets.values():
        if other.role == "floor" and (other.implementation.protocol, other.implementation.body) == way:
            return next((summary for summary in other.summaries if summary.load == load), None)
    return None

"""From the rounds of a search for a configuration to its points, and from fresh servers to what it claims."""

from collections.abc import Callable, Mapping
from typing import Any

from pipelines.judge.slo import judge_slo
from pipelines.record.reason import reason
from pipelines.record.rounds import RoundRecord
from pipelines.record.slo import RatePointRecord, SloRecord
from pipelines.record.tune import TuneClaimRecord, TuneRecord, TuneSideRecord, TuneTrialRecord

Refigure = Callable[[RoundRecord], RoundRecord]


def judge_tune(
    tune: TuneRecord, slo: SloRecord | None, seed: int, refigure: Refigure, *, verdicts: bool = True
) -> TuneRecord:
    """Judge every trial's points by its raw rounds, and every claim by the searches of fresh servers.

    Args:
        slo: the searches of fresh servers, judged; None before there are any.
        refigure: a round with its figures, from its raw file.
        verdicts: False for a profile that measures too little for any claim.
    """
    sides = {
        name: side.model_copy(
            update={
                "trials": tuple(_trial(trial, tune.p99_limit_ms, refigure) for trial in side.trials),
                "claims": _claims(side, slo, seed, verdicts=verdicts),
            }
        )
        for name, side in tune.sides.items()
    }
    return tune.model_copy(update={"sides": sides})


def _trial(trial: TuneTrialRecord, limit_ms: float, refigure: Refigure) -> TuneTrialRecord:
    rounds = tuple(map(refigure, trial.rounds))
    by_index = {record.index: record for record in rounds}
    points = tuple(_point(point, by_index, limit_ms) for point in trial.points)
    return trial.model_copy(update={"rounds": rounds, "points": points})


def _point(point: RatePointRecord, rounds: Mapping[int, RoundRecord], limit_ms: float) -> RatePointRecord:
    """Return the point with the p99 of its round; whether the round was usable stays as recorded."""
    record = rounds.get(point.round_index)
    if record is None:
        return point
    p99_ms = record.latency_ms.p99
    changes: dict[str, Any] = {"p99_ms": p99_ms}
    if point.met and (p99_ms is None or p99_ms > limit_ms):
        changes["met"] = False
    return point.model_copy(update=changes)


def _claims(
    side: TuneSideRecord, slo: SloRecord | None, seed: int, *, verdicts: bool
) -> tuple[TuneClaimRecord, ...]:
    """Compare the winner with every other side that fresh servers compared it with."""
    if slo is None or not side.final:
        return ()
    winner, *others = side.final
    return tuple(_claim(slo, winner, other, seed, verdicts=verdicts) for other in others)


def _claim(slo: SloRecord, winner: str, other: str, seed: int, *, verdicts: bool) -> TuneClaimRecord:
    if winner not in slo.targets or other not in slo.targets:
        nothing = reason("side_without_search", side=winner if winner not in slo.targets else other)
        return TuneClaimRecord(
            against=other,
            ratio=None,
            interval=None,
            ratio_at_least=None,
            ratio_at_most=None,
            block_ratios=(),
            reason=nothing,
        )
    pair = judge_slo(slo.model_copy(update={"candidate": winner, "baseline": other}), seed, verdicts=verdicts)
    return TuneClaimRecord(
        against=other,
        ratio=pair.ratio,
        interval=pair.interval,
        ratio_at_least=pair.ratio_at_least,
        ratio_at_most=pair.ratio_at_most,
        block_ratios=pair.block_ratios,
        reason=pair.reason,
    )

"""A realistic record of an SLO search: two targets, three blocks, doubling, bisecting, confirming."""

import random
from collections.abc import Sequence
from typing import Any

from report_fixture import bare_target, make_round, make_run
from report_parts import PROFILE, said

from pipelines.record.reason import reason
from pipelines.record.run import RunRecord
from pipelines.record.slo import RatePointRecord, SloBlockRecord, SloRatioRecord, SloRecord, SloTargetRecord
from pipelines.record.target import TargetRecord

LIMIT_MS = 20.0
CAPACITY_PER_S = {"torchserve": 470.0, "tfserving": 2190.0}
FLOOR_MS = {"torchserve": 3.1, "tfserving": 1.9}
CONFIRMED_PER_S = {"torchserve": (405.0, 412.0, 420.0), "tfserving": (1890.0, 1950.0, 2010.0)}
BLOCKS = (1, 2, 3)


def make_slo_run(**changes: Any) -> RunRecord:
    """The run, with any field of `SloRecord` changed."""
    chance = random.Random(11)  # noqa: S311
    index = iter(range(1, 1000))
    points: dict[str, list[RatePointRecord]] = {name: [] for name in CAPACITY_PER_S}
    for block in BLOCKS:
        for name, found in points.items():
            found.extend(_search(chance, index, name, block))
    slo = make_slo(points).model_copy(update=changes)
    targets = {name: _target(name, found) for name, found in points.items()}
    targets |= {name: targets["tfserving"] for name in slo.targets if name not in targets}
    run = make_run(kind="slo", comparisons=(), controls=(), warnings=(), slo=slo, targets=targets)
    command = ("tandem", "slo", "models/digits_cnn", "--p99-ms", "20", "--hourly-price", "0.40")
    profile = PROFILE.model_copy(update={"blocks": 3, "loads": (), "control": False, "null": False})
    return run.model_copy(update={"command": command, "profile": profile})


def make_slo(points: dict[str, list[RatePointRecord]]) -> SloRecord:
    """The result that belongs to the points."""
    return SloRecord(
        p99_limit_ms=LIMIT_MS,
        resolution=0.05,
        hourly_price=0.4,
        targets={
            "torchserve": found_rate(
                (405.0, 412.0, 420.0), 412.3, (395.2, 430.1), 0.2695, points["torchserve"]
            ),
            "tfserving": found_rate(
                (1890.0, 1950.0, 2010.0), 1949.4, (1810.0, 2100.0), 0.057, points["tfserving"]
            ),
        },
        candidate="torchserve",
        baseline="tfserving",
        ratio=0.2115,
        interval=(0.192, 0.233),
        reason=None,
        block_ratios=tuple(
            SloRatioRecord(block=block, ratio=ours / theirs, bound=None)
            for block, ours, theirs in zip(
                BLOCKS, CONFIRMED_PER_S["torchserve"], CONFIRMED_PER_S["tfserving"], strict=True
            )
        ),
    )


def searched(block: int, outcome: str, rate: float | None, points: Sequence[Any] = ()) -> SloBlockRecord:
    """What one search found."""
    return SloBlockRecord(
        block=block,
        outcome=outcome,
        rate_per_s=rate,
        breaks_at_per_s=rate * 1.05 if rate else None,
        rounds_count=sum(point.block == block for point in points),
        reason=reason("text", text=f"the search of block {block} says so"),
    )


def bounded(one: SloTargetRecord, at_least: float, why: str) -> SloTargetRecord:
    """The same searches, had the generator been the limit in the last of them."""
    blocks = (*one.blocks[:-1], one.blocks[-1].model_copy(update={"outcome": "lower_bound"}))
    nothing = dict.fromkeys(("rate_per_s", "interval", "cost_per_million", "cost_interval"))
    changes = {"lower_bound": True, "at_least_per_s": at_least, "cost_at_most": 0.05}
    return one.model_copy(update=nothing | changes | {"blocks": blocks, "reason": said(why)})


def found_rate(
    rates: tuple[float | None, ...],
    rate: float,
    interval: tuple[float, float],
    cost: float,
    points: list[RatePointRecord],
) -> SloTargetRecord:
    """A search that found a rate in every block."""
    return SloTargetRecord(
        rate_per_s=rate,
        interval=interval,
        block_rates_per_s=rates,
        lower_bound=False,
        cost_per_million=cost,
        cost_interval=(cost * rate / interval[1], cost * rate / interval[0]),
        points=tuple(points),
        reason=None,
        blocks=tuple(
            searched(block, "found" if one else "none", one, points)
            for block, one in zip(BLOCKS, rates, strict=True)
        ),
    )


def no_rate(one: SloTargetRecord) -> SloTargetRecord:
    """The same search, had nothing met the limit."""
    nothing = dict.fromkeys(("rate_per_s", "interval", "cost_per_million", "cost_interval"))
    failed = tuple(point.model_copy(update={"met": False}) for point in one.points)
    empty = (None,) * len(one.block_rates_per_s)
    blocks = tuple(searched(found.block, "none", None, failed) for found in one.blocks)
    return one.model_copy(update=nothing | {"points": failed, "block_rates_per_s": empty, "blocks": blocks})


def _search(chance: random.Random, index: Any, name: str, block: int) -> list[RatePointRecord]:
    """Doubling until it breaks, two steps of bisecting, two rounds to confirm."""
    rates, rate = [], 50.0
    while rate < CAPACITY_PER_S[name] * 1.2:
        rates.append((rate, "search"))
        rate *= 2
    best = CONFIRMED_PER_S[name][block - 1]
    rates += [(rate, "search"), (rate * 0.7, "search"), (best * 1.08, "search")]
    rates += [(best, "confirm"), (best, "confirm")]
    return [_point(chance, next(index), name, block, *one) for one in rates]


def _point(
    chance: random.Random, index: int, name: str, block: int, rate: float, phase: str
) -> RatePointRecord:
    load = rate / CAPACITY_PER_S[name]
    busy = FLOOR_MS[name] * (1 + 0.75 * load / (1 - load)) if load < 0.97 else 900 * load
    p99 = min(busy, 3000.0) * chance.uniform(0.93, 1.05)
    spoilt = index == 4
    return RatePointRecord(
        round_index=index,
        block=block,
        phase=phase,
        rate_per_s=rate,
        p99_ms=p99,
        errors_share=0.0,
        met=None if spoilt else p99 <= LIMIT_MS,
        reasons=(reason("foreign_cpu", share=0.31, limit=0.05),) if spoilt else (),
    )


def _target(name: str, points: list[RatePointRecord]) -> TargetRecord:
    rounds = [
        make_round(
            [(point.p99_ms or 0.0) * (0.3 + 0.7 * share / 700) for share in range(700)],
            index=point.round_index,
            target=name,
            load=f"open:{point.rate_per_s:g}",
            block=point.block,
            valid=point.met is not None,
            invalid_reasons=point.reasons,
            offered_per_s=point.rate_per_s,
            achieved_per_s=point.rate_per_s * 0.999,
            late_share=0.001,
        )
        for point in points
    ]
    return bare_target(name, rounds=tuple(rounds))

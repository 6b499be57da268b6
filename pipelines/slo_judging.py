"""From the searches of an SLO run to highest rates, their ratio, and what they cost."""

import math
from collections.abc import Mapping

from loadtests.intervals import RatioInterval, ratio_interval
from loadtests.slo import cost_interval, cost_per_million
from pipelines.record import SloRecord, SloTargetRecord


def judge_slo(slo: SloRecord, seed: int) -> SloRecord:
    """Highest rates, their ratio and its interval, and costs, from the rate each block's search found."""
    targets = {name: _judge_slo_target(target, slo, seed) for name, target in slo.targets.items()}
    ratio = _slo_ratio(slo, targets, seed)
    return slo.model_copy(
        update={
            "targets": targets,
            "ratio": ratio.ratio if ratio else None,
            "interval": ends(ratio),
            "reason": None if ratio else "fewer than two blocks found a rate for both targets",
        }
    )


def _judge_slo_target(target: SloTargetRecord, slo: SloRecord, seed: int) -> SloTargetRecord:
    """The rate's interval is that of its ratio to 1 per second, from one logarithm per block."""
    price = slo.hourly_price
    found = [rate for rate in target.block_rates_per_s if rate]
    interval = _searched([math.log(rate) for rate in found], slo.resolution, seed)
    rate = math.exp(math.fsum(map(math.log, found)) / len(found)) if found else None
    return target.model_copy(
        update={
            "rate_per_s": rate,
            "interval": ends(interval),
            "cost_per_million": cost_per_million(rate, price) if rate and price else None,
            "cost_interval": (
                cost_interval(interval.low, interval.high, price) if interval and price else None
            ),
        }
    )


def _slo_ratio(slo: SloRecord, targets: Mapping[str, SloTargetRecord], seed: int) -> RatioInterval | None:
    if slo.baseline is None:
        return None
    sides = zip(
        targets[slo.candidate].block_rates_per_s, targets[slo.baseline].block_rates_per_s, strict=False
    )
    return _searched([math.log(a / b) for a, b in sides if a and b], slo.resolution, seed)


def _searched(logarithms: list[float], resolution: float, seed: int) -> RatioInterval | None:
    """The interval of what one search per block found, which no search knows better than its resolution."""
    interval = ratio_interval([[value] for value in logarithms], seed=seed)
    return interval.widened(1 + resolution) if interval else None


def ends(interval: RatioInterval | None) -> tuple[float, float] | None:
    """Both ends, as a record holds them."""
    return (interval.low, interval.high) if interval else None

"""From summarised rounds to ratios with intervals, the noise floor, and verdicts."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from loadtests.intervals import RatioInterval, ratio_interval
from loadtests.slo import cost_interval, cost_per_million
from loadtests.verdict import decide, larger_floor, noise_floor
from pipelines.record import (
    ComparisonRecord,
    ControlRecord,
    RoundRecord,
    SloRecord,
    SloTargetRecord,
    SummaryRecord,
    TargetRecord,
)

METRICS = ("p50", "p95", "p99", "throughput_per_s")
HIGHER_IS_BETTER = frozenset({"throughput_per_s"})

Targets = Mapping[str, TargetRecord]


def metric_value(record: RoundRecord | SummaryRecord, metric: str) -> float | None:
    """A percentile in ms or the throughput per second, by name."""
    if metric == "throughput_per_s":
        return record.throughput_per_s
    value: float | None = getattr(record.latency_ms, metric)
    return value


@dataclass(frozen=True)
class Pairs:
    """Ratios candidate / baseline of paired valid rounds, block by block, as natural logarithms."""

    by_block: tuple[tuple[float, ...], ...]

    @property
    def count(self) -> int:
        """All pairs."""
        return sum(map(len, self.by_block))

    @property
    def round_range(self) -> tuple[float, float] | None:
        """The smallest and the largest single ratio."""
        flat = [math.exp(value) for block in self.by_block for value in block]
        return (min(flat), max(flat)) if flat else None

    def interval(self, seed: int) -> RatioInterval | None:
        """The 95 % interval of the ratio; None with fewer than two pairs."""
        return ratio_interval(self.by_block, seed=seed)


def pair_rounds(candidate: TargetRecord, baseline: TargetRecord, load: str, metric: str) -> Pairs:
    """Valid rounds of the same block, load and repetition, which were measured one after the other."""
    ours, theirs = _by_place(candidate, load, metric), _by_place(baseline, load, metric)
    blocks: dict[int, list[float]] = {}
    for block, repetition in sorted(ours.keys() & theirs.keys()):
        ratio = ours[block, repetition] / theirs[block, repetition]
        blocks.setdefault(block, []).append(math.log(ratio))
    return Pairs(tuple(map(tuple, blocks.values())))


def _by_place(target: TargetRecord, load: str, metric: str) -> dict[tuple[int, int], float]:
    found = {}
    for record in target.rounds:
        value = metric_value(record, metric)
        if record.valid and record.load == load and value:
            found[record.block, record.repetition] = value
    return found


def judge(
    targets: Targets, *, margin: float, seed: int
) -> tuple[tuple[ControlRecord, ...], tuple[ComparisonRecord, ...]]:
    """The noise floor of every side, load and metric, and a verdict for every pair of compared targets."""
    controls = tuple(
        _control(name, target, targets, load, metric, seed)
        for name, target in targets.items()
        if target.role == "control"
        for load in _loads([target])
        for metric in METRICS
    )
    floors = {(c.target, c.load, c.metric): c.noise_floor for c in controls}
    compared = {name: target for name, target in targets.items() if target.role == "compared"}
    comparisons = tuple(
        _compare(
            pair, compared, load, metric, [floors.get((name, load, metric)) for name in pair], margin, seed
        )
        for pair in combinations(compared, 2)
        for load in _loads(compared[name] for name in pair)
        for metric in METRICS
    )
    return controls, comparisons


def _loads(targets: Iterable[TargetRecord]) -> list[str]:
    return list(dict.fromkeys(record.load for target in targets for record in target.rounds))


def _control(
    name: str, target: TargetRecord, targets: Targets, load: str, metric: str, seed: int
) -> ControlRecord:
    original = target.control_of or name
    pairs = pair_rounds(target, targets[original], load, metric)
    interval = pairs.interval(seed)
    return ControlRecord(
        load=load,
        metric=metric,
        target=original,
        ratio=interval.ratio if interval else None,
        interval=_ends(interval),
        pairs_count=pairs.count,
        noise_floor=noise_floor(interval),
    )


def _compare(
    pair: tuple[str, str],
    targets: Targets,
    load: str,
    metric: str,
    floors: Sequence[float | None],
    margin: float,
    seed: int,
) -> ComparisonRecord:
    candidate, baseline = pair
    floor = larger_floor(floors)
    pairs = pair_rounds(targets[candidate], targets[baseline], load, metric)
    interval = pairs.interval(seed)
    verdict = (
        decide(
            interval,
            lower_is_better=metric not in HIGHER_IS_BETTER,
            margin=margin,
            noise_floor=floor,
            without_floor=[name for name, one in zip(pair, floors, strict=True) if one is None],
        )
        if interval
        else None
    )
    return ComparisonRecord(
        load=load,
        metric=metric,
        baseline=baseline,
        candidate=candidate,
        ratio=interval.ratio if interval else None,
        interval=_ends(interval),
        round_range=pairs.round_range,
        pairs_count=pairs.count,
        blocks_count=len(pairs.by_block),
        margin=margin,
        noise_floor=floor,
        verdict=verdict.word if verdict else None,
        reason=verdict.reason if verdict else _too_few(pairs.count),
        rounds_needed=verdict.rounds_needed if verdict else None,
    )


def _too_few(count: int) -> str:
    pairs = "1 valid pair of rounds has" if count == 1 else f"{count} valid pairs of rounds have"
    return f"{pairs} this figure, an interval needs at least two"


def _ends(interval: RatioInterval | None) -> tuple[float, float] | None:
    return (interval.low, interval.high) if interval else None


def judge_slo(slo: SloRecord, seed: int) -> SloRecord:
    """Highest rates, their ratio and its interval, and costs, from the rate each block's search found."""
    targets = {name: _judge_slo_target(target, slo, seed) for name, target in slo.targets.items()}
    ratio = _slo_ratio(slo, targets, seed)
    return slo.model_copy(
        update={
            "targets": targets,
            "ratio": ratio.ratio if ratio else None,
            "interval": _ends(ratio),
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
            "interval": _ends(interval),
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

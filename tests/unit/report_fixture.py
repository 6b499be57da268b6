"""A realistic run record made in code: two loads, two targets, a control, the null server and tflite."""

import functools
import math
import random
import statistics
from collections.abc import Sequence
from typing import Any

from report_parts import (
    ENVIRONMENT,
    FAIRNESS,
    LOADS,
    MODEL,
    PAYLOAD,
    PROFILE,
    WARNINGS,
    artifact,
    comparison,
    implementation,
    latency,
    parity,
    tflite,
)

from pipelines.judge.tradeoffs import judge_trade_offs
from pipelines.record.comparison import ComparisonRecord, ControlRecord
from pipelines.record.implementation import GivenRecord
from pipelines.record.reason import ReasonRecord, reason
from pipelines.record.rounds import GeneratorRecord, RoundRecord, SliceRecord
from pipelines.record.run import RunRecord
from pipelines.record.target import (
    BlockPeakRecord,
    ColdStartRecord,
    EcdfRecord,
    MemoryRecord,
    SummaryRecord,
    TargetRecord,
)

CONTROL = "tfserving-control"
MEDIANS_MS = {
    ("torchserve", "closed:1"): 2.9,
    ("tfserving", "closed:1"): 1.62,
    ("null", "closed:1"): 0.41,
    ("torchserve", "closed:8"): 6.26,
    ("tfserving", "closed:8"): 6.3,
    ("null", "closed:8"): 1.9,
}
ROUND_REQUESTS = 800
ROTATION = (
    ("torchserve", "tfserving", CONTROL, "null"),
    ("tfserving", CONTROL, "null", "torchserve"),
    (CONTROL, "null", "torchserve", "tfserving"),
    ("null", "torchserve", "tfserving", CONTROL),
)
METRICS = ("p50", "p95", "p99", "throughput_per_s")
SPOILT = reason("foreign_cpu", share=0.31, limit=0.05)

Measured = list[tuple[RoundRecord, list[float]]]


def make_run(**changes: Any) -> RunRecord:
    """The run, with any field of `RunRecord` changed."""
    return RunRecord(**(_fields() | changes))


@functools.cache
def _fields() -> dict[str, Any]:
    """Made once: records do not change."""
    measured = _rounds(random.Random(7))  # noqa: S311
    targets = {name: _target(name, measured) for name in ("torchserve", "tfserving", CONTROL, "null")}
    targets["tflite"] = tflite()
    return {
        "kind": "compare",
        "run_id": "20261120-142233-digits_cnn",
        "tandem_version": "0.1.0",
        "command": ("tandem", "compare", "models/digits_cnn", "--load", "closed:1", "--load", "closed:8"),
        "started_at_utc": "2026-11-20T14:22:33Z",
        "ended_at_utc": "2026-11-20T14:31:05Z",
        "status": "complete",
        "status_reason": None,
        "percentile_method": "nearest rank on all successful requests of valid rounds",
        "profile": PROFILE,
        "model": MODEL,
        "environment": ENVIRONMENT,
        "payload": PAYLOAD,
        "artifacts": tuple(one for target in targets.values() for one in target.artifacts),
        "targets": targets,
        "fairness": FAIRNESS,
        "controls": _controls(targets),
        "comparisons": _comparisons(targets),
        "slo": None,
        "mobile": None,
        "warnings": WARNINGS,
        "trade_offs": judge_trade_offs(targets, margin=PROFILE.margin, seed=PROFILE.seed),
    }


def _rounds(chance: random.Random) -> Measured:
    """The rounds in order; one of them is spoilt and measured again."""
    made: Measured = []
    for turn, names in enumerate(ROTATION):
        for load in LOADS:
            for name in names:
                spoilt = (name, load, turn) == ("tfserving", "closed:8", 2)
                for attempt in range(2 if spoilt else 1):
                    values = _latencies(chance, MEDIANS_MS[name.removesuffix("-control"), load])
                    place = {"index": len(made) + 1, "block": turn // 2 + 1, "repetition": turn % 2 + 1}
                    one = make_round(values, target=name, load=load, attempt=attempt, **place)
                    made.append((_spoil(one) if spoilt and not attempt else one, values))
    return made


def _latencies(chance: random.Random, median_ms: float) -> list[float]:
    drift = chance.uniform(0.985, 1.02)
    values = [median_ms * drift * chance.lognormvariate(0, 0.16) for _ in range(ROUND_REQUESTS)]
    slow = [value * chance.uniform(1.5, 3.2) if chance.random() < 0.03 else value for value in values]
    return sorted(slow)


def make_round(values: list[float], **changes: Any) -> RoundRecord:
    """A valid round of these sorted latencies in ms; `index`, `target` and `load` are asked for."""
    index, load = changes["index"], changes["load"]
    fields: dict[str, Any] = {
        "block": 1,
        "repetition": 1,
        "attempt": 0,
        "started_at_utc": f"2026-11-20T14:{22 + index // 4:02d}:{index * 13 % 60:02d}Z",
        "window_s": 10.0,
        "warmup_s": 3.2,
        "warmup_requests_count": 511,
        "steady": True,
        "samples_file": f"samples/{index:03d}-{changes['target']}-{load.replace(':', '-')}.parquet",
        "requests_count": len(values),
        "errors_count": 0,
        "checked_count": 16,
        "wrong_count": 0,
        "errors": (),
        "latency_ms": latency(values),
        "throughput_per_s": throughput(load, values),
        "generator": GeneratorRecord(
            cpu_s=4.3, cpu_share=0.43, cores=(1,), realtime=True, waited_share=0.001
        ),
        "cpu_steal_share": 0.001,
        "foreign_cpu_share": 0.012,
        "valid": True,
        "invalid_reasons": (),
        "interrupted": False,
        "offered_per_s": None,
        "achieved_per_s": None,
        "late_share": None,
        "slices": _slices(values) if changes["target"] in FORMATS else (),
    }
    return RoundRecord(**(fields | changes))


def _slices(values: list[float]) -> tuple[SliceRecord, ...]:
    """Five stretches of two seconds: the latencies are sorted, so every fifth is in each."""
    return tuple(
        SliceRecord(
            start_s=2.0 * number,
            length_s=2.0,
            requests_count=len(own),
            p50_ms=statistics.median(own),
            max_ms=max(own),
        )
        for number in range(5)
        if (own := values[number::5])
    )


def _spoil(one: RoundRecord) -> RoundRecord:
    scaled = {name: value * 1.7 for name, value in one.latency_ms if isinstance(value, float)}
    return invalid(one).model_copy(update={"latency_ms": one.latency_ms.model_copy(update=scaled)})


def invalid(one: RoundRecord, *reasons: ReasonRecord) -> RoundRecord:
    """The same round, not to be used."""
    return one.model_copy(
        update={"valid": False, "invalid_reasons": reasons or (SPOILT,), "foreign_cpu_share": 0.31}
    )


def throughput(load: str, values: Sequence[float]) -> float:
    """What a closed loop gives: as many at a time as the load says."""
    return float(load.split(":")[1]) * 1000 * len(values) / sum(values)


def _summary(load: str, own: Measured) -> SummaryRecord:
    valid = [(one, values) for one, values in own if one.valid]
    pooled = sorted(value for _, values in valid for value in values)
    ranks = [max(1, round(len(pooled) * step / 200)) for step in range(1, 201)]
    p99s = [one.latency_ms.p99 for one, _ in valid if one.latency_ms.p99 is not None]
    rates = [one.throughput_per_s for one, _ in valid]
    return SummaryRecord(
        load=load,
        rounds_count=len(valid),
        invalid_rounds_count=len(own) - len(valid),
        requests_count=len(pooled),
        errors_count=0,
        latency_ms=latency(pooled),
        throughput_per_s=throughput(load, pooled),
        round_range={"p99": (min(p99s), max(p99s)), "throughput_per_s": (min(rates), max(rates))},
        ecdf=EcdfRecord(
            latency_ms=tuple(pooled[rank - 1] for rank in ranks),
            share=tuple(rank / len(pooled) for rank in ranks),
        ),
        server_cpu_ms_per_row=0.875,
    )


def _ratios(one: TargetRecord, other: TargetRecord, load: str, metric: str) -> list[float]:
    """Ratios of valid rounds of the same block and repetition."""
    theirs = {(x.block, x.repetition): x for x in other.rounds if x.valid and x.load == load}
    ours = {(x.block, x.repetition): x for x in one.rounds if x.valid and x.load == load}
    return [_value(ours[key], metric) / _value(theirs[key], metric) for key in ours if key in theirs]


def _value(one: RoundRecord, metric: str) -> float:
    value = one.throughput_per_s if metric == "throughput_per_s" else getattr(one.latency_ms, metric)
    assert isinstance(value, float)
    return value


def _estimate(ratios: list[float]) -> tuple[float, tuple[float, float]]:
    """The geometric mean with an interval that is good enough for a picture."""
    middle = statistics.geometric_mean(ratios)
    factor = math.exp(2 * statistics.stdev(map(math.log, ratios)) / math.sqrt(len(ratios)))
    return middle, (middle / factor, middle * factor)


def _comparisons(targets: dict[str, TargetRecord]) -> tuple[ComparisonRecord, ...]:
    return tuple(_compare(targets, load, metric) for load in LOADS for metric in METRICS)


def _compare(targets: dict[str, TargetRecord], load: str, metric: str) -> ComparisonRecord:
    ratios = _ratios(targets["torchserve"], targets["tfserving"], load, metric)
    ratio, (low, high) = _estimate(ratios)
    larger = "better" if metric == "throughput_per_s" else "worse"
    smaller = "worse" if metric == "throughput_per_s" else "better"
    called = "equivalent" if low > 1 / 1.05 and high < 1.05 else "inconclusive"
    called = larger if low > 1.05 else smaller if high < 1 / 1.05 else called
    return comparison(
        load=load,
        metric=metric,
        ratio=ratio,
        interval=(low, high),
        round_range=(min(ratios), max(ratios)),
        pairs_count=len(ratios),
        noise_floor=_floor(targets, load, metric),
        verdict=called,
        rounds_needed=14 if called == "inconclusive" else None,
        is_primary=metric == "p99",
    )


def _floor(targets: dict[str, TargetRecord], load: str, metric: str) -> float:
    low, high = _estimate(_ratios(targets[CONTROL], targets["tfserving"], load, metric))[1]
    return max(high, 1 / low) - 1


def _controls(targets: dict[str, TargetRecord]) -> tuple[ControlRecord, ...]:
    made = []
    for load, metric in ((load, metric) for load in LOADS for metric in METRICS):
        ratios = _ratios(targets[CONTROL], targets["tfserving"], load, metric)
        ratio, interval = _estimate(ratios)
        floor = _floor(targets, load, metric)
        made.append(
            ControlRecord(
                load=load,
                metric=metric,
                target="tfserving",
                ratio=ratio,
                interval=interval,
                pairs_count=len(ratios),
                noise_floor=floor,
            )
        )
    return tuple(made)


FORMATS = {"torchserve": ("mar", 104_441), "tfserving": ("savedmodel", 131_205)}
ROLES = {CONTROL: "control", "null": "floor"}


def _target(name: str, measured: Measured) -> TargetRecord:
    own = [(one, values) for one, values in measured if one.target == name]
    exported = name in FORMATS
    return bare_target(
        name,
        artifacts=(artifact(name, FORMATS[name][0], "float32", FORMATS[name][1]),) if exported else (),
        parity=(parity(FORMATS[name][0]),) if exported else (),
        endpoint_parity=parity("rest", samples_count=64) if exported else None,
        summaries=tuple(_summary(load, [pair for pair in own if pair[0].load == load]) for load in LOADS),
        rounds=tuple(one for one, _ in own),
    )


def bare_target(name: str, **changes: Any) -> TargetRecord:
    """A served target of that name that has measured nothing, with any field changed."""
    exported = name in FORMATS
    slow = 3.61 if name == "torchserve" else 5.61
    fields: dict[str, Any] = {
        "role": ROLES.get(name, "compared"),
        "control_of": "tfserving" if name == CONTROL else None,
        "implementation": implementation(name.removesuffix("-control"), "local", "rest"),
        "given": GivenRecord(
            cores=(0,),
            workers_count=1 if name == "torchserve" else None,
            threads_per_worker=1 if exported else None,
            batch_max_size=1 if exported else None,
            memory_limit_bytes=None,
        ),
        "artifacts": (),
        "parity": (),
        "endpoint_parity": None,
        "cold_starts": tuple(
            ColdStartRecord(block=block, ready_s=slow + 0.1 * block, first_right_answer_s=slow + 0.2 * block)
            for block in (1, 2)
        ),
        "memory": MemoryRecord(
            idle_bytes=None if name == "null" else 412_311_552,
            peak_bytes=None if name == "null" else 455_921_664,
            source=None if name == "null" else "pss",
            block_peaks=()
            if name == "null"
            else tuple(
                BlockPeakRecord(block=block, peak_bytes=int(455_921_664 * slow / 5.61) - block)
                for block in (0, 1)
            ),
        ),
        "summaries": (),
        "rounds": (),
        "log_file": f"logs/{name}.log",
    }
    return TargetRecord(**(fields | changes))

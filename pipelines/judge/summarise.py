"""From raw request files to figures: the same function when a run ends and when a report is rebuilt."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from loadtests import statistics
from loadtests.arrivals import parse_load
from loadtests.errors import LoadTestError
from loadtests.recorder import read_samples
from loadtests.sequential import Look
from pipelines.errors import MachineError
from pipelines.judge.efficiency import judge_efficiency
from pipelines.judge.slo import judge_slo
from pipelines.judge.time_split import floor_of, judge_time_split
from pipelines.judge.timeline import slice_round, slices_per_round
from pipelines.judge.tradeoffs import judge_trade_offs
from pipelines.judge.tune import judge_tune
from pipelines.judge.verdicts import METRICS, judge, metric_value
from pipelines.record.reading import file_within
from pipelines.record.rounds import LatencyRecord, RoundRecord, SliceRecord
from pipelines.record.run import RunRecord
from pipelines.record.sequential import SequentialRecord
from pipelines.record.target import EcdfRecord, SummaryRecord, TargetRecord
from pipelines.units import MS_PER_S

Latencies = NDArray[np.int64]


def summarise(run: RunRecord, folder: Path) -> RunRecord:
    """Recompute every figure of `run` from the raw files in `folder`; nothing else is changed.

    Raises:
        MachineError: a raw file is missing or unreadable.
    """
    if run.profile is None:
        return run
    count = slices_per_round(
        sum(len(target.rounds) for target in run.targets.values() if target.role == "compared")
    )
    targets = {
        name: _summarise_target(target, folder, count if target.role == "compared" else 0)
        for name, target in run.targets.items()
    }
    targets = {
        name: _with_costs(target, targets, run.profile.seed) if target.role == "compared" else target
        for name, target in targets.items()
    }
    enough = run.profile.verdicts
    # Blocks that nobody has looked at yet are not to be judged as if they were all there is.
    verdicts = enough and (run.sequential is None or bool(run.sequential.looks))
    controls, comparisons = judge(
        _looked_at(targets, run.sequential),
        margin=run.profile.margin,
        seed=run.profile.seed,
        primary=run.profile.primary,
        verdicts=verdicts,
        looks=looks_of(run),
    )
    rows = run.payload.rows if run.payload else 1
    slo = judge_slo(run.slo, run.profile.seed, rows, verdicts=enough) if run.slo else None
    return run.model_copy(
        update={
            "targets": targets,
            "controls": controls,
            "comparisons": comparisons if run.kind == "compare" else (),
            "slo": slo,
            "tune": judge_tune(
                run.tune, slo, run.profile.seed, partial(summarise_round, folder=folder), verdicts=enough
            )
            if run.tune
            else None,
            "trade_offs": judge_trade_offs(
                targets,
                margin=run.profile.margin,
                seed=run.profile.seed,
                verdicts=verdicts,
                looks=looks_of(run),
            ),
        }
    )


def _looked_at(
    targets: Mapping[str, TargetRecord], sequential: SequentialRecord | None
) -> Mapping[str, TargetRecord]:
    """Return the targets with the rounds of blocks that were looked at; all of them in a fixed design.

    A run that ends inside a block has rounds for which no error rate was spent.
    """
    if sequential is None or not sequential.looks:
        return targets
    count = sequential.looks[-1].blocks_count
    return {
        name: target.model_copy(
            update={"rounds": tuple(record for record in target.rounds if record.block < count)}
        )
        for name, target in targets.items()
    }


def looks_of(run: RunRecord) -> tuple[Look, ...]:
    """Return the looks of a run whose blocks were added until it was decided; none of any other."""
    looks = run.sequential.looks if run.sequential else ()
    return tuple(Look(look.blocks_count, look.time_share) for look in looks)


def summarise_round(record: RoundRecord, folder: Path) -> RoundRecord:
    """Add a round's figures, from its raw file.

    Raises:
        MachineError: as `summarise`.
    """
    return _summarise_round(record, _successful(record, folder).latency_ns, ())


def successful_latencies(record: RoundRecord, folder: Path) -> Latencies:
    """Return the nanoseconds of every successful request of a round, from its raw file.

    Raises:
        MachineError: as `summarise`.
    """
    return _successful(record, folder).latency_ns


class _Successful(NamedTuple):
    """The successful requests of a round: their latencies, and when they ended after its first request."""

    latency_ns: Latencies
    ended_ns: Latencies


def _successful(record: RoundRecord, folder: Path) -> _Successful:
    try:
        path = file_within(folder, record.samples_file)
        samples = read_samples(path)
        is_open = parse_load(record.load).is_open
    except (LoadTestError, ValueError) as error:
        raise MachineError(f"a round cannot be summarised: {error}") from error
    all_ns = statistics.latency_ns(samples.scheduled_ns, samples.sent_ns, samples.done_ns, is_open=is_open)
    chosen = statistics.succeeded(samples.status, samples.correct)
    latencies = all_ns[chosen]
    if (latencies < 0).any():
        raise MachineError(f"a round cannot be summarised: {path} has answers from before their requests")
    began_ns = samples.scheduled_ns.min() if len(samples) else 0
    return _Successful(latencies, samples.done_ns[chosen] - began_ns)


def _summarise_target(target: TargetRecord, folder: Path, slices_count: int) -> TargetRecord:
    """Summarise one target at a time, so that no more than its latencies are held."""
    latencies: dict[int, Latencies] = {}
    summarised = []
    for record in target.rounds:
        own = _successful(record, folder)
        latencies[record.index] = own.latency_ns
        slices = slice_round(own.ended_ns, own.latency_ns, record.window_s, slices_count)
        summarised.append(_summarise_round(record, own.latency_ns, slices))
    rounds = tuple(summarised)
    loads = dict.fromkeys(record.load for record in rounds)
    summaries = tuple(_pool(load, [r for r in rounds if r.load == load], latencies) for load in loads)
    return target.model_copy(update={"rounds": rounds, "summaries": summaries})


def _with_costs(target: TargetRecord, targets: Mapping[str, TargetRecord], seed: int) -> TargetRecord:
    """Add what the server costs beside its model, and where the time of a request goes."""
    rows, summaries = target.payload.rows if target.payload else 1, []
    for summary in target.summaries:
        own = [record for record in target.rounds if record.load == summary.load]
        costs = {
            "efficiency": judge_efficiency(own, rows, target.in_process, seed),
            "time_split": judge_time_split(summary, own, floor_of(target, summary.load, targets)),
            "server_cpu_ms_per_row": _cpu_ms_per_row(own, rows),
        }
        summaries.append(summary.model_copy(update=costs))
    return target.model_copy(update={"summaries": tuple(summaries)})


def _cpu_ms_per_row(rounds: Iterable[RoundRecord], rows: int) -> float | None:
    """Return the server's CPU time over the `rows` of each request, of the valid rounds that have it."""
    read = [
        (record.server_cpu_s, record.requests_count)
        for record in rounds
        if record.valid and record.server_cpu_s is not None
    ]
    rows_count = rows * sum(count for _, count in read)
    return MS_PER_S * sum(cpu_s for cpu_s, _ in read) / rows_count if rows_count else None


def _summarise_round(
    record: RoundRecord, latencies: Latencies, slices: tuple[SliceRecord, ...]
) -> RoundRecord:
    return record.model_copy(
        update={
            "latency_ms": _latency(latencies),
            "throughput_per_s": statistics.throughput_per_s(len(latencies), record.window_s),
            "slices": slices,
        }
    )


def _latency(latencies: Latencies) -> LatencyRecord:
    return LatencyRecord(**asdict(statistics.summarize_latency(latencies)))


def _pool(load: str, rounds: list[RoundRecord], latencies: Mapping[int, Latencies]) -> SummaryRecord:
    """Pool all requests of the valid rounds: percentiles of a pool, never averages of percentiles."""
    valid = [record for record in rounds if record.valid]
    pooled = np.concatenate([latencies[r.index] for r in valid]) if valid else np.empty(0, np.int64)
    return SummaryRecord(
        load=load,
        rounds_count=len(valid),
        invalid_rounds_count=len(rounds) - len(valid),
        requests_count=sum(record.requests_count for record in valid),
        errors_count=sum(record.errors_count for record in valid),
        latency_ms=_latency(pooled),
        throughput_per_s=statistics.throughput_per_s(len(pooled), sum(r.window_s for r in valid)),
        round_range=_ranges(valid),
        ecdf=_ecdf(pooled),
    )


def _ecdf(pooled: Latencies) -> EcdfRecord | None:
    if not len(pooled):
        return None
    values, shares = statistics.ecdf(pooled / statistics.NS_PER_MS)
    return EcdfRecord(latency_ms=tuple(values.tolist()), share=tuple(shares.tolist()))


def _ranges(rounds: Iterable[RoundRecord]) -> dict[str, tuple[float, float]]:
    ranges = {}
    for metric in METRICS:
        values = [value for record in rounds if (value := metric_value(record, metric)) is not None]
        if values:
            ranges[metric] = (min(values), max(values))
    return ranges

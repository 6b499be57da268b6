"""The figures' data as CSV text, every digit of the record, so that a reader can draw them anew."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence

from pipelines.console.format import one_line
from pipelines.judge.warming import cpu_ms_per_request
from pipelines.record.comparison import ComparisonRecord
from pipelines.record.mobile import MobileRecord
from pipelines.record.rounds import RoundRecord
from pipelines.record.slo import SloRecord
from pipelines.record.target import SummaryRecord
from pipelines.record.time_split import TimeSplitRecord
from pipelines.record.training import TrainingRecord
from pipelines.record.tune import TuneSideRecord
from pipelines.report import pick
from pipelines.report.figures.curves import Curves

Value = str | float | int | bool | None


def to_csv(columns: Sequence[str], rows: Iterable[Sequence[Value]]) -> str:
    """Render a heading and rows; a missing figure is an empty cell, and text never begins a formula."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_cell(value) for value in row] for row in rows)
    return out.getvalue()


def _cell(value: Value) -> Value:
    if not isinstance(value, str):
        return value
    text = one_line(value)
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text


def of_comparisons(own: Iterable[ComparisonRecord]) -> str:
    """Render ratios with their intervals."""
    columns = ("load", "metric", "candidate", "baseline", "ratio", "low", "high", "margin", "noise_floor")
    return to_csv(
        (*columns, "verdict"),
        (
            (
                *(
                    comparison.load,
                    comparison.metric,
                    comparison.candidate,
                    comparison.baseline,
                    pick.ratio_of(comparison),
                ),
                *(comparison.interval or (None, None)),
                *(comparison.margin, comparison.noise_floor, comparison.verdict),
            )
            for comparison in own
        ),
    )


def of_distributions(summaries: Mapping[str, SummaryRecord]) -> str:
    """Render points of the distributions of latency."""
    rows = (
        (name, latency, share)
        for name, summary in summaries.items()
        if summary.ecdf
        for latency, share in zip(summary.ecdf.latency_ms, summary.ecdf.share, strict=True)
    )
    return to_csv(("target", "latency_ms", "share"), rows)


def of_rounds(rounds: Iterable[RoundRecord]) -> str:
    """Render one row per round."""
    columns = ("round", "block", "repetition", "attempt", "target", "load", "started_at_utc", "p50_ms")
    return to_csv(
        (*columns, "p99_ms", "throughput_per_s", "valid"),
        (
            (
                *(record.index, record.block, record.repetition, record.attempt, record.target, record.load),
                *(
                    record.started_at_utc,
                    record.latency_ms.p50,
                    record.latency_ms.p99,
                    record.throughput_per_s,
                ),
                record.valid,
            )
            for record in rounds
        ),
    )


def of_slices(rounds: Iterable[RoundRecord]) -> str:
    """Render one row per stretch of a round."""
    columns = ("round", "target", "load", "started_at_utc", "valid", "start_s", "length_s", "requests_count")
    return to_csv(
        (*columns, "p50_ms", "max_ms"),
        (
            (
                *(
                    record.index,
                    record.target,
                    record.load,
                    record.started_at_utc,
                    record.valid,
                    part.start_s,
                ),
                *(part.length_s, part.requests_count, part.p50_ms, part.max_ms),
            )
            for record in rounds
            for part in record.slices
        ),
    )


def of_summaries(curves: Mapping[str, Iterable[SummaryRecord | None]]) -> str:
    """Render throughput and percentiles by target and load."""
    columns = ("target", "load", "throughput_per_s", "p50_ms", "p95_ms", "p99_ms", "requests_count")
    return to_csv(
        columns,
        (
            (
                *(name, summary.load, summary.throughput_per_s, summary.latency_ms.p50),
                *(summary.latency_ms.p95, summary.latency_ms.p99, summary.requests_count),
            )
            for name, own in curves.items()
            for summary in own
            if summary
        ),
    )


def of_time_splits(loads: Mapping[str, Mapping[str, TimeSplitRecord | None]]) -> str:
    """Render one row per side, load and part."""
    rows = (
        (name, load, part, value)
        for load, own in loads.items()
        for name, split in own.items()
        if split
        for part, value in {
            "p50": split.p50_ms,
            **split.parts_ms,
            "unexplained": split.unexplained_ms,
        }.items()
    )
    return to_csv(("target", "load", "part", "ms"), rows)


def of_curves(curves: Curves) -> str:
    """Render fresh servers second by second."""
    rows = (
        (
            *(name, conditioning.block, second, figures.requests_count, figures.p50_ms),
            cpu_ms_per_request(figures),
        )
        for name, own in curves.items()
        for conditioning in own
        for second, figures in enumerate(conditioning.seconds, start=1)
    )
    columns = ("target", "block", "second", "requests_count", "p50_ms", "cpu_ms_per_request")
    return to_csv(columns, rows)


def of_search(slo: SloRecord) -> str:
    """Render every measurement of a search."""
    columns = ("round", "target", "block", "phase", "rate_per_s", "p99_ms", "errors_share", "met")
    rows = (
        (
            *(point.round_index, name, point.block, point.phase, point.rate_per_s),
            *(point.p99_ms, point.errors_share, point.met),
        )
        for name, target in slo.targets.items()
        for point in target.points
    )
    return to_csv(columns, rows)


def of_trials(side: TuneSideRecord) -> str:
    """Render every configuration that was tried."""
    names = [axis.name for axis in side.axes]
    columns = (
        "trial",
        "preset",
        *names,
        "outcome",
        "rate_per_s",
        "breaks_at_per_s",
        "closed_throughput_per_s",
    )
    rows = (
        (
            *(trial.number, trial.preset, *(trial.levels.get(name) for name in names), trial.outcome),
            *(trial.rate_per_s, trial.breaks_at_per_s, trial.closed_throughput_per_s),
        )
        for trial in side.trials
    )
    return to_csv(columns, rows)


def of_artifacts(mobile: MobileRecord) -> str:
    """Render size and accuracy of every artifact for devices."""
    columns = ("target", "path", "precision", "size_bytes", "accuracy")
    rows = (
        (artifact.target, artifact.path, artifact.precision, artifact.size_bytes, artifact.accuracy)
        for artifact in mobile.artifacts
    )
    return to_csv(columns, rows)


def of_trainings(training: TrainingRecord) -> str:
    """Render every epoch of every training."""
    rows = (
        (record.index + 1, record.framework, record.seed, record.role, number, epoch.loss, epoch.elapsed_s)
        for record in training.trainings
        for number, epoch in enumerate(record.epochs, start=1)
    )
    return to_csv(("training", "framework", "seed", "role", "epoch", "loss", "elapsed_s"), rows)

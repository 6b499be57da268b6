"""The parts of a run: every figure as run.json has it; rounds, warm-ups and losses over time; latencies."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

from loadtests import statistics
from pipelines.judge.mobile import read_calls
from pipelines.judge.summarise import successful_latencies
from pipelines.judge.verdicts import METRICS, metric_value
from pipelines.outputs.facts import Figure
from pipelines.outputs.of_run import figures_of_run
from pipelines.record.reading import file_within
from pipelines.record.run import RunRecord
from pipelines.record.target import TargetRecord
from pipelines.report import pick
from pipelines.tensorboard.board import Distribution, Part, Scalar, buckets_of
from pipelines.tensorboard.settings import of_artifact, of_framework, of_side


def parts_of(run: RunRecord, folder: Path) -> list[Part]:
    """Return everything about a finished run in `folder`, one part per side, artifact or training.

    Raises:
        MachineError: a raw file is missing or unreadable.
    """
    board = _Board(run)
    for figure in figures_of_run(run):
        board.add_figure(figure)
    for name, target in pick.compared(run).items():
        part = board.part(name)
        part.settings |= of_side(run, name, target)
        part.scalars += _rounds(target)
        part.distributions += _latencies(target, folder)
        part.scalars += _warming(target, board.started_s)
        part.scalars += _search(run, name, board.started_s)
    _add_trainings(board, run)
    _add_artifacts(board, run, folder)
    return list(board.parts.values())


class _Board:
    """Parts by name, made when something is said of them."""

    def __init__(self, run: RunRecord) -> None:
        self.started_s = seconds_of(run.started_at_utc)
        self.in_parts = ("target", "artifact") if run.kind == "mobile" else ("target",)
        self.parts: dict[str, Part] = {}

    def part(self, *names: str) -> Part:
        """Return the part of that name."""
        name = "/".join(names)
        return self.parts.setdefault(name, Part(name))

    def add_figure(self, figure: Figure) -> None:
        """Add a figure and the ends of its interval."""
        part = self.part(*self.names(figure.labels))
        tag = "/".join((*self._others(figure.labels), f"{figure.measure} {figure.unit}"))
        ends = {"": figure.value, " low": figure.low, " high": figure.high}
        part.scalars += [
            Scalar(f"{tag}{end}", 0, value, self.started_s)
            for end, value in ends.items()
            if value is not None
        ]

    def names(self, labels: Mapping[str, str]) -> list[str]:
        """Return the names of the part that something with these labels belongs to."""
        return [labels[name] for name in self.in_parts if name in labels] or ["run"]

    def _others(self, labels: Mapping[str, str]) -> Iterator[str]:
        for name, text in labels.items():
            if name not in ("model", *self.in_parts):
                yield f"{name} {text}" if name in ("against", "threads") else text


def seconds_of(utc: str) -> float:
    """Return the seconds since 1970 of a time such as 2026-11-20T14:22:33Z; 0 for what is none."""
    try:
        moment = datetime.fromisoformat(utc)
    except ValueError:
        return 0.0
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _rounds(target: TargetRecord) -> Iterator[Scalar]:
    """Yield every metric of every valid round, the step being the round's place in the run."""
    for record in target.rounds:
        for metric in METRICS if record.valid else ():
            value = metric_value(record, metric)
            if value is not None:
                name = metric if metric == "throughput_per_s" else f"{metric} ms"
                yield Scalar(
                    f"{record.load}/rounds/{name}", record.index, value, seconds_of(record.started_at_utc)
                )


def _latencies(target: TargetRecord, folder: Path) -> Iterator[Distribution]:
    """Yield the latencies of successful requests of every valid round."""
    for record in target.rounds:
        if record.valid:
            latencies = successful_latencies(record, folder) / statistics.NS_PER_MS
            at_s = seconds_of(record.started_at_utc)
            yield Distribution(f"{record.load}/latency ms", record.index, buckets_of(latencies), at_s)


def _warming(target: TargetRecord, started_s: float) -> Iterator[Scalar]:
    """Yield the requests in every second of the first load on a fresh server."""
    for conditioning in target.conditionings:
        tag = f"conditioning/block {conditioning.block}/{conditioning.load}/requests per s"
        for second, figures in enumerate(conditioning.seconds, start=1):
            yield Scalar(tag, second, float(figures.requests_count), started_s)


def _search(run: RunRecord, name: str, started_s: float) -> Iterator[Scalar]:
    """Yield what an SLO search tried, in the order of its rounds."""
    search = run.slo.targets.get(name) if run.slo else None
    for point in search.points if search else ():
        yield Scalar("search/rate per_s", point.round_index, point.rate_per_s, started_s)
        if point.p99_ms is not None:
            yield Scalar("search/p99 ms", point.round_index, point.p99_ms, started_s)


def _add_trainings(board: _Board, run: RunRecord) -> None:
    """Add loss and seconds of every epoch; the settings stand beside the figures over seeds."""
    training = run.training
    for framework in training.frameworks if training else ():
        assert training is not None  # noqa: S101 - there are no frameworks otherwise
        board.part(framework).settings |= of_framework(run, training, framework)
    for record in training.trainings if training else ():
        part = board.part(record.framework, f"seed {record.seed} {record.role}")
        at_s = seconds_of(record.started_at_utc)
        for number, epoch in enumerate(record.epochs, start=1):
            part.scalars.append(Scalar("training/loss", number, epoch.loss, at_s))
            part.scalars.append(Scalar("training/epoch s", number, epoch.elapsed_s, at_s))


def _add_artifacts(board: _Board, run: RunRecord, folder: Path) -> None:
    """Add single calls of every artifact for devices, the step being the number of threads."""
    for artifact in run.mobile.artifacts if run.mobile else ():
        labels = {"target": artifact.target, "artifact": artifact.path}
        part = board.part(*board.names(labels))
        before = "" if "artifact" in board.in_parts else f"{artifact.path}/"
        if "artifact" in board.in_parts:
            part.settings |= of_artifact(run, artifact)
        for timing in artifact.timings:
            if timing.samples_file is not None:
                calls = read_calls(file_within(folder, timing.samples_file)) / statistics.NS_PER_MS
                tag = f"{before}call ms"
                part.distributions.append(
                    Distribution(tag, timing.threads_count, buckets_of(calls), board.started_s)
                )

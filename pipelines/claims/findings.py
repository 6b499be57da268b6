"""From a run to findings: what it says under one condition, by its own verdicts and figures."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

from pipelines.record.mobile import MobileArtifactRecord
from pipelines.record.run import RunRecord
from pipelines.record.tradeoff import Measure
from pipelines.record.training import TrainingMeasure

Word = Literal["better", "worse", "equivalent", "inconclusive"]
Kind = Literal["ratio", "difference"]
EXACT_MARGIN: Final = 0.05
"""Sizes are known exactly; as everywhere, a difference within five per cent is none."""


@dataclass(frozen=True)
class Finding:
    """One answer of a run.

    Attributes:
        what: what was compared, for people, such as `p99 under closed:8`.
        sides: candidate and baseline.
        word: the verdict on the candidate; None where the run gives none.
        value: candidate / baseline, or their difference as a share; None where it is not known.
        interval: of value, 95 %; None where it is exact or not known.
        exact: whether it is counted and not measured.
    """

    what: str
    sides: tuple[str, str]
    word: Word | None
    value: float | None
    interval: tuple[float, float] | None
    kind: Kind = "ratio"
    exact: bool = False


Reader = Callable[[RunRecord], Iterator[Finding]]


def served(*metrics: str) -> Reader:
    """Return a reader of the verdicts on servers in those metrics, under every load."""

    def read(run: RunRecord) -> Iterator[Finding]:
        for comparison in run.comparisons:
            if comparison.metric in metrics:
                named = "throughput" if comparison.metric == "throughput_per_s" else comparison.metric
                sides = comparison.candidate, comparison.baseline
                yield Finding(
                    f"{named} under {comparison.load}",
                    sides,
                    comparison.verdict,
                    comparison.ratio,
                    comparison.interval,
                )

    return read


def traded(measure: Measure, what: str) -> Reader:
    """Return a reader of the verdicts on servers in one measure that is not taken from rounds."""

    def read(run: RunRecord) -> Iterator[Finding]:
        for trade_off in run.trade_offs:
            if trade_off.measure == measure and trade_off.ratio is not None:
                sides = trade_off.candidate, trade_off.baseline
                exact = trade_off.interval is None
                yield Finding(
                    what, sides, trade_off.verdict, trade_off.ratio, trade_off.interval, exact=exact
                )

    return read


def trained(measure: TrainingMeasure, what: str) -> Reader:
    """Return a reader of the verdicts on trainings in one measure."""

    def read(run: RunRecord) -> Iterator[Finding]:
        for comparison in run.training.comparisons if run.training else ():
            value = comparison.difference if measure == "accuracy" else comparison.ratio
            if comparison.measure == measure and value is not None:
                kind: Kind = "difference" if measure == "accuracy" else "ratio"
                sides = comparison.candidate, comparison.baseline
                yield Finding(what, sides, comparison.verdict, value, comparison.interval, kind)

    return read


def shipped(run: RunRecord) -> Iterator[Finding]:
    """Compare what a device carries for TFLite and ExecuTorch: the smallest usable file, and its runtime."""
    if run.mobile is None:
        return
    ours, theirs = (_smallest(run, target) for target in ("tflite", "executorch"))
    if ours is None or theirs is None:
        return
    sides = "tflite", "executorch"
    yield _counted("smallest file that keeps its accuracy", sides, ours.size_bytes, theirs.size_bytes)
    carried = [
        artifact.size_bytes + run.mobile.runtimes[artifact.runtime_library].size_bytes
        for artifact in (ours, theirs)
    ]
    yield _counted("that file and its runtime's library", sides, *carried)


def _smallest(run: RunRecord, target: str) -> MobileArtifactRecord | None:
    """Return the smallest artifact of a target that passes and whose runtime was weighed."""
    artifacts = run.mobile.artifacts if run.mobile else ()
    weighed = run.mobile.runtimes if run.mobile else {}
    own = [
        artifact
        for artifact in artifacts
        if artifact.target == target and artifact.passed and artifact.runtime_library in weighed
    ]
    return min(own, key=lambda artifact: artifact.size_bytes, default=None)


def archived(run: RunRecord) -> Iterator[Finding]:
    """Compare what TorchServe and TensorFlow Serving load: the archive against the SavedModel."""
    sizes = [
        next(
            (
                artifact.size_bytes
                for artifact in run.artifacts
                if (artifact.target, artifact.format) == wanted
            ),
            None,
        )
        for wanted in (("torchserve", "torchserve-archive"), ("tfserving", "saved-model"))
    ]
    ours, theirs = sizes
    if ours and theirs:
        yield _counted("what the server loads", ("torchserve", "tfserving"), ours, theirs)


def _counted(what: str, sides: tuple[str, str], ours: int, theirs: int) -> Finding:
    ratio = ours / theirs
    word: Word = "equivalent"
    if abs(math.log(ratio)) > math.log1p(EXACT_MARGIN):
        word = "better" if ratio < 1 else "worse"
    return Finding(what, sides, word, ratio, None, exact=True)

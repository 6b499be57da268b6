"""From raw calls to figures: the same functions when artifacts are measured and when a report is rebuilt."""

import zipfile
from pathlib import Path
from typing import TypedDict

import numpy as np
import numpy.typing as npt

from loadtests.statistics import NS_PER_MS, percentile, samples_needed
from pipelines.errors import MachineError
from pipelines.record.mobile import MobileArtifactRecord, MobileRecord, TimingRecord
from pipelines.record.reading import file_within
from pipelines.record.reason import ReasonRecord, reason

PERCENTILES = (50, 95)
CALLS = "invoke_ns"
CALLS_LIMIT_BYTES = 2**26


class Figures(TypedDict):
    """The fields of `TimingRecord` that follow from its raw calls."""

    runs_count: int
    p50_ms: float | None
    p95_ms: float | None
    reasons: dict[str, ReasonRecord]


def figures(calls_ns: npt.NDArray[np.int64]) -> Figures:
    """Compute percentiles of nanoseconds per call, shape (runs,), where there are enough of them."""
    count = len(calls_ns)
    reasons = {f"p{q}_ms": _too_few(q, count) for q in PERCENTILES if count < samples_needed(q)}
    p50_ms, p95_ms = (
        None if f"p{q}_ms" in reasons else percentile(calls_ns, q) / NS_PER_MS for q in PERCENTILES
    )
    return Figures(runs_count=count, p50_ms=p50_ms, p95_ms=p95_ms, reasons=reasons)


def _too_few(q: int, count: int) -> ReasonRecord:
    return reason("too_few_calls", percentile=q, needed_count=samples_needed(q), calls_count=count)


def write_calls(path: Path, calls_ns: npt.NDArray[np.int64]) -> None:
    """Keep raw calls, nanoseconds each, shape (runs,)."""
    np.savez_compressed(path, invoke_ns=calls_ns)


def read_calls(path: Path) -> npt.NDArray[np.int64]:
    """Read raw calls again.

    Raises:
        MachineError: the file is missing or damaged.
    """
    try:
        return _read_archive(path)
    except Exception as error:  # a damaged archive fails in as many ways as there are to damage one
        raise MachineError(f"{path} cannot be read: {error}; the run's raw calls are damaged") from error


def _read_archive(path: Path) -> npt.NDArray[np.int64]:
    with zipfile.ZipFile(path) as archive:
        if archive.getinfo(f"{CALLS}.npy").file_size > CALLS_LIMIT_BYTES:
            raise ValueError(f"it claims to hold more than {CALLS_LIMIT_BYTES} bytes")
    with np.load(path, allow_pickle=False) as arrays:
        calls_ns: npt.NDArray[np.int64] = arrays[CALLS]
    if calls_ns.dtype != np.int64 or calls_ns.ndim != 1 or (calls_ns < 0).any():
        raise ValueError("it holds no list of nanoseconds")
    return calls_ns


def refigure(mobile: MobileRecord, folder: Path) -> MobileRecord:
    """Compute every percentile of the record again from the raw files in `folder`.

    Raises:
        MachineError: a raw file is missing or damaged.
    """
    artifacts = tuple(_refigure(artifact, folder) for artifact in mobile.artifacts)
    return mobile.model_copy(update={"artifacts": artifacts})


def _refigure(artifact: MobileArtifactRecord, folder: Path) -> MobileArtifactRecord:
    timings = tuple(_again(timing, folder) for timing in artifact.timings)
    return artifact.model_copy(update={"timings": timings})


def _again(timing: TimingRecord, folder: Path) -> TimingRecord:
    if timing.samples_file is None:
        return timing
    try:
        path = file_within(folder, timing.samples_file)
    except ValueError as error:
        raise MachineError(str(error)) from error
    return timing.model_copy(update=dict(figures(read_calls(path))))

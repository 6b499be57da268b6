"""The served artifacts timed in process, on the servers' cores, while all servers are paused."""

import importlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from models import tensors
from models.spec import ModelSpec
from models.tensors import Array
from pipelines.errors import UserError
from pipelines.measure.session import Measured, Session
from pipelines.measure.sides import Side
from pipelines.record.artifact import ArtifactRecord
from pipelines.record.in_process import InProcessRecord
from pipelines.record.reason import ReasonRecord, reason
from pipelines.targets.registry import find_target
from pipelines.tasks.tasks import Progress, run_tasks, task_of
from pipelines.units import NS_PER_MS, NS_PER_S

# What a server loads, by the format it was exported to; an archive is around one of these.
FORMATS = ("torchscript", "aotinductor", "saved-model")
LIMIT_S = 120.0
WARMUP_S = 0.5
MEASURED_S = 1.5
LEAST_CALLS = 10
STRETCHES = 10
MOST_SAMPLES = 64


def time_sides(
    session: Session, spec: ModelSpec, rows: int, cores: Sequence[int], progress: Progress
) -> list[ReasonRecord]:
    """Time what every compared side serves; a failure is reported and fails no comparison.

    Sides that serve one file in equal batches have one measurement. A side without such a file, or whose
    server is no local process, has none.

    Args:
        rows: samples in a request.
        cores: of the servers.
    """
    by_file: dict[tuple[Path, int], InProcessRecord] = {}
    failures = []
    for side in session.sides:
        measured, served = session.measured[side.name], _served_file(side, session)
        if served is None:
            continue
        path, artifact = served
        batch = max(1, round(rows * _requests_per_run(measured)))
        try:
            if (path, batch) not in by_file:
                by_file[path, batch] = _time(side.target, path, artifact, spec, batch, cores, progress)
        except UserError as error:
            failures.append(reason("in_process_failed", target=side.name, error=str(error)))
        else:
            measured.in_process = by_file[path, batch]
    return failures


def _served_file(side: Side, session: Session) -> tuple[Path, ArtifactRecord] | None:
    plan = session.measured[side.name].plan
    if side.role != "compared" or side.verified is None or side.folder is None or plan is None:
        return None
    if plan.implementation.runner != "local" or side.target not in side.verified.manifests:
        return None
    module = importlib.import_module(find_target(side.target).runtime_module)
    if not hasattr(module, "open_call"):
        return None
    artifacts = side.verified.manifests[side.target].artifacts
    return next(
        ((side.folder / artifact.path, artifact) for artifact in artifacts if artifact.format in FORMATS),
        None,
    )


def _requests_per_run(measured: Measured) -> float:
    """Return the mean number of requests that shared a run of the model; 1 without batching."""
    per_run = [
        record.requests_per_run for record in measured.rounds if record.valid and record.requests_per_run
    ]
    return float(np.mean(per_run)) if per_run else 1.0


def _time(
    target: str,
    path: Path,
    artifact: ArtifactRecord,
    spec: ModelSpec,
    batch: int,
    cores: Sequence[int],
    progress: Progress,
) -> InProcessRecord:
    with tempfile.TemporaryDirectory(prefix="tandem-in-process-") as folder:
        samples = Path(folder) / "samples.npz"
        tensors.save(samples, tensors.take(spec.samples().named, slice(MOST_SAMPLES)))
        task = task_of(
            f"{target} in process",
            LIMIT_S,
            time_here,
            runtime=find_target(target).runtime_module,
            file=path,
            artifact=artifact,
            samples=samples,
            rows=batch,
            outputs=[output.name for output in spec.outputs],
            cores=cores,
        )
        (outcome,) = run_tasks([task], progress)
    return outcome.result


def time_here(
    progress: Callable[[str], None],
    runtime: str,
    file: Path,
    artifact: ArtifactRecord,
    samples: Path,
    rows: int,
    outputs: Sequence[str],
    cores: Sequence[int],
) -> InProcessRecord:
    """Load the artifact's file and call it on `cores` until it was seen enough, in a process of its own.

    Args:
        runtime: name of the target's runtime module.
        samples: a file of samples, as `models.tensors.save` writes it; calls take them in turn.
        rows: samples in a call, of one shape.
    """
    module = importlib.import_module(runtime)
    batches = list(full_batches(tensors.load(samples), rows))
    threads = len(cores) or len(os.sched_getaffinity(0))
    progress("loading")
    # Before the libraries start threads of their own, which stay where they are started.
    if cores:
        os.sched_setaffinity(0, cores)
    call = module.open_call(file, artifact.format, threads, outputs)
    until = time.perf_counter() + WARMUP_S
    call(batches[0])
    while time.perf_counter() < until:
        for batch in batches:
            call(batch)
    progress("measuring")
    calls_ns = timed(call, batches)
    return InProcessRecord(
        path=artifact.path,
        format=artifact.format,
        cores=tuple(cores),
        threads_count=threads,
        rows=rows,
        **figures(calls_ns, rows),
    )


def full_batches(samples: tensors.Tensors, rows: int) -> Iterator[dict[str, Array]]:
    """Yield batches of exactly `rows` samples of one shape; repeat samples where a shape has too few."""
    for places, batch in tensors.batches(samples, rows):
        chosen = np.arange(rows) % len(places)
        yield {name: np.ascontiguousarray(array[chosen]) for name, array in batch.items()}


def timed(call: Callable[[dict[str, Array]], object], batches: Sequence[dict[str, Array]]) -> list[int]:
    """Return nanoseconds from each call's start to the next one's, so that nothing between is left out."""
    calls_ns: list[int] = []
    clock = time.perf_counter_ns
    began = last = clock()
    while last - began < MEASURED_S * NS_PER_S or len(calls_ns) < LEAST_CALLS:
        call(batches[len(calls_ns) % len(batches)])
        now = clock()
        calls_ns.append(now - last)
        last = now
    return calls_ns


def figures(calls_ns: Sequence[int], rows: int) -> dict[str, Any]:
    """Compute the fields of `InProcessRecord` that come from the calls' nanoseconds."""
    calls = np.asarray(calls_ns, np.int64)
    elapsed_s = float(calls.sum()) / NS_PER_S
    return {
        "calls_count": len(calls),
        "elapsed_s": elapsed_s,
        "call_p50_ms": float(np.median(calls)) / NS_PER_MS,
        "rows_per_s": len(calls) * rows / elapsed_s,
        "stretches_rows_per_s": [
            len(part) * rows / (float(part.sum()) / NS_PER_S) for part in _stretches(calls)
        ],
    }


def _stretches(calls: npt.NDArray[np.int64]) -> list[npt.NDArray[np.int64]]:
    return np.array_split(calls, min(STRETCHES, len(calls)))

"""One artifact with one number of threads, timed in a process of its own, as a task."""

import gc
import importlib
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
import numpy.typing as npt

from models import tensors
from models.tensors import Sample
from pipelines.measure.environment import cpu_shares, read_cpu
from pipelines.mobile import memory
from pipelines.targets.in_process import InProcessModel
from pipelines.units import NS_PER_MS, NS_PER_S


@dataclass(frozen=True)
class TimingRules:
    """When a measurement has seen enough.

    Attributes:
        warmup_s: uncounted calls go on for this long, at least one.
        runs: counted calls at least.
        measured_s: counted calls go on for this long at least.
        wished_runs: as many as p95 needs; a slow model stops before that, after `patience_s`.
        most_runs: no more, however fast the model is.
    """

    warmup_s: float = 0.5
    runs: int = 50
    measured_s: float = 1.0
    wished_runs: int = 130
    patience_s: float = 10.0
    most_runs: int = 1_000_000

    def enough(self, count: int, elapsed_s: float) -> bool:
        """Return whether `count` calls in `elapsed_s` seconds will do."""
        if count >= self.most_runs:
            return True
        if count < self.runs or elapsed_s < self.measured_s:
            return False
        return count >= self.wished_runs or elapsed_s >= self.patience_s


@dataclass(frozen=True)
class Timed:
    """What a measurement found beside the calls: see `TimingRecord`; `memory_source` says how it was read."""

    load_ms: float
    first_inference_ms: float
    warmup_runs_count: int
    elapsed_s: float
    peak_memory_bytes: int | None
    memory_source: str
    cpu_steal_share: float | None
    foreign_cpu_share: float | None


def time_here(
    progress: Callable[[str], None],
    runtime: str,
    artifact: Path,
    artifact_format: str,
    threads_count: int,
    samples: Path,
    outputs: Sequence[str],
    modules: Sequence[str],
    calls: Path,
    rules: TimingRules,
) -> Timed:
    """Load the artifact, call it until it was seen enough, and write nanoseconds per call to `calls` (.npy).

    Args:
        runtime: name of the target's runtime module.
        samples: a file of one or more samples, as `models.tensors.save` writes it; calls take them in turn.
        outputs: names of the model's outputs, in order.
        modules: what the runtime imports on its first use; imported before anything is measured.
    """
    inputs = list(tensors.samples(tensors.load(samples)))
    module = _import_all(runtime, modules)
    gc.collect()
    start = memory.mark()
    progress("loading")
    began = time.perf_counter_ns()
    model: InProcessModel = module.open_model(artifact, artifact_format, threads_count, outputs)
    load_ns = time.perf_counter_ns() - began
    first_ns = _call(model, inputs[0])
    warmup_runs = _warm_up(model, inputs, rules.warmup_s)
    peak_bytes = memory.peak_above_bytes(start)
    progress("measuring")
    before = read_cpu()
    calls_ns, elapsed_s = timed_calls(model, inputs, rules)
    shares = cpu_shares(before, read_cpu())
    np.save(calls, calls_ns)
    return Timed(
        load_ms=load_ns / NS_PER_MS,
        first_inference_ms=first_ns / NS_PER_MS,
        warmup_runs_count=warmup_runs,
        elapsed_s=elapsed_s,
        peak_memory_bytes=peak_bytes,
        memory_source=start.source,
        cpu_steal_share=shares.steal,
        foreign_cpu_share=shares.foreign,
    )


def _import_all(runtime: str, modules: Sequence[str]) -> ModuleType:
    """Import the runtime's module first: imports are neither loading time nor the model's memory."""
    module = importlib.import_module(runtime)
    for name in modules:
        # Some names that a library puts among the modules are no modules that can be imported.
        with suppress(Exception):
            importlib.import_module(name)
    return module


def _call(model: InProcessModel, sample: Sample) -> int:
    model.set_inputs(sample)
    began = time.perf_counter_ns()
    model.invoke()
    return time.perf_counter_ns() - began


def _warm_up(model: InProcessModel, inputs: Sequence[Sample], warmup_s: float) -> int:
    until = time.perf_counter() + warmup_s
    count = 0
    while count == 0 or time.perf_counter() < until:
        _call(model, inputs[count % len(inputs)])
        count += 1
    return count


def timed_calls(
    model: InProcessModel, inputs: Sequence[Sample], rules: TimingRules
) -> tuple[npt.NDArray[np.int64], float]:
    """Time every call of `invoke`; return nanoseconds of shape (runs,), and the seconds all of it took.

    Nothing but the call stands between the two readings of the clock: the inputs are set before, the result
    is stored after into memory that was there before, and no garbage is collected meanwhile.
    """
    calls_ns = np.empty(rules.most_runs, np.int64)
    set_inputs, invoke, clock, enough = model.set_inputs, model.invoke, time.perf_counter_ns, rules.enough
    inputs_count, count, elapsed_ns = len(inputs), 0, 0
    collecting = gc.isenabled()
    gc.disable()
    try:
        start = clock()
        while not enough(count, elapsed_ns / NS_PER_S):
            set_inputs(inputs[count % inputs_count])
            before = clock()
            invoke()
            after = clock()
            calls_ns[count] = after - before
            count += 1
            elapsed_ns = after - start
    finally:
        if collecting:
            gc.enable()
    return calls_ns[:count].copy(), elapsed_ns / NS_PER_S

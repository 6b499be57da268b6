"""Taking a road: convert in its environment, prove the result, or go on to the next one."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from models.spec import ModelSpec
from pipelines.environments.creation import ensure
from pipelines.environments.known import Environment
from pipelines.errors import GateError, MachineError, UserError
from pipelines.roads import conversion
from pipelines.roads.known import BY_ONNX2TF, TO_LITE, TO_SAVED_MODEL, Asked, Road
from pipelines.roads.proof import (
    Truth,
    flatbuffer_call,
    read_truth,
    require_same,
    saved_model_call,
    write_truth,
)
from pipelines.tasks.tasks import run_tasks, task_of

SIGNATURE = "serving_default"
TRUTH_LIMIT_S = 600.0


@dataclass(frozen=True)
class Taken:
    """The road that was taken, what its tools were, and what was tried before: road and reason.

    `max_abs_error` is the largest of its proof, in the outputs' own units.
    """

    road: str
    tools: dict[str, str]
    max_abs_error: float
    refused: tuple[tuple[str, str], ...] = ()

    @property
    def warnings(self) -> tuple[str, ...]:
        """One line for each road that did not take the model."""
        return tuple(f"the road {name} did not take the model: {reason}" for name, reason in self.refused)


def to_saved_model(
    spec: ModelSpec, asked: Asked, roads: Sequence[str], folder: Path, progress: Callable[[str], None]
) -> Taken:
    """Write a proved SavedModel into `folder`, not yet there, by the first of `roads` that takes the model.

    Raises:
        GateError: none of them does; says of each why.
        ModelError: the source model is not usable.
    """

    def prove(_: str, result: Path, truth: Truth) -> float:
        return require_same(spec, saved_model_call(result, SIGNATURE), truth)

    return _first(spec, asked, [TO_SAVED_MODEL[name] for name in roads], folder, progress, prove)


def to_lite(
    spec: ModelSpec, asked: Asked, roads: Sequence[str], folder: Path, progress: Callable[[str], None]
) -> Taken:
    """Write what TensorFlow Lite files are made of into `folder`, proved sample by sample.

    By litert these are the files themselves (`by_litert.convert`), by onnx2tf a SavedModel.

    Raises:
        GateError: none of `roads` takes the model; says of each why.
        ModelError: the source model is not usable.
    """

    def prove(road: str, result: Path, truth: Truth) -> float:
        onnx = road == BY_ONNX2TF.name
        call = saved_model_call(result, SIGNATURE) if onnx else flatbuffer_call(spec, result)
        return require_same(spec, call, truth, batches=(1,))

    return _first(spec, asked, [TO_LITE[name] for name in roads], folder, progress, prove)


def _first(
    spec: ModelSpec,
    asked: Asked,
    roads: Sequence[Road],
    folder: Path,
    progress: Callable[[str], None],
    prove: Callable[[str, Path, Truth], float],
) -> Taken:
    refused: list[tuple[str, str]] = []
    kind: type[UserError] = GateError
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder.parent, prefix=".road-") as work:
        truth = read_truth(spec, _truth(spec, asked, Path(work), progress))
        for road in roads:
            result = Path(work) / road.name
            try:
                convert(spec, asked, road, result, progress)
                progress(f"{road.name}: comparing with the source model")
                error = prove(road.name, result, truth)
            except (GateError, MachineError) as failure:
                refused.append((road.name, str(failure)))
                # With a mended machine it may be another answer.
                kind = MachineError if isinstance(failure, MachineError) else kind
                continue
            result.replace(folder)
            return Taken(road.name, road.versions, error, tuple(refused))
    raise kind(none_takes(spec, refused))


def none_takes(spec: ModelSpec, refused: Sequence[tuple[str, str]]) -> str:
    """Say in one line what was tried and what can be done."""
    tried = "; ".join(f"{name}: {reason.rstrip('.')}" for name, reason in refused)
    return (
        f"no road takes {spec.name} to TensorFlow: {tried}. Give its ModelSpec a twin (build_keras), express "
        "that part with other operators, or leave this target out with --targets"
    )


def _truth(spec: ModelSpec, asked: Asked, work: Path, progress: Callable[[str], None]) -> Path:
    file = work / "truth.npz"
    model, digest = asked.model, spec.digest
    task = task_of("source model", TRUTH_LIMIT_S, write_truth, model=model, digest=digest, file=str(file))
    run_tasks([task], lambda _, text: progress(text))
    return file


def convert(
    spec: ModelSpec, asked: Asked, road: Road, folder: Path, progress: Callable[[str], None]
) -> float:
    """Run a road's converter in its environment; its seconds, without those of making the environment.

    Raises:
        GateError: it did not take the model.
        MachineError: its environment cannot be made, or its process died.
    """
    ensure(road.environment, progress)
    started = time.monotonic()
    told: dict[str, Any] = {"model": asked.model, "digest": spec.digest}
    if road.from_onnx:
        file = str(folder.with_suffix(".onnx"))
        _run(road, "pipelines.roads.onnx_file:write", None, {**told, "file": file}, progress)
        told = {
            "onnx": file,
            "inputs": [(one.name, one.dtype, one.shape) for one in spec.inputs],
            "outputs": [(one.name, one.dtype, one.shape) for one in spec.outputs],
        }
    _run(road, road.convert, road.environment, {**told, "folder": str(folder)}, progress)
    return time.monotonic() - started


def _run(
    road: Road,
    function: str,
    environment: Environment | None,
    arguments: dict[str, Any],
    progress: Callable[[str], None],
) -> None:
    """Run the road's converter in a process of its own; raise GateError if it did not take the model."""
    task = task_of(road.name, road.limit_s, conversion.convert, function=function, **arguments)
    task = replace(task, environment=environment)
    (outcome,) = run_tasks([task], lambda _, text: progress(f"{road.name}: {text}"))
    if outcome.result is not None:
        raise GateError(outcome.result)

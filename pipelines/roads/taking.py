"""Taking a road: convert in its environment, prove the result, or go on to the next one."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from models.spec import ModelSpec
from pipelines.environments.making import ensure
from pipelines.errors import GateError, MachineError, RequestError, UserError
from pipelines.roads.known import TO_SAVED_MODEL, Asked, Road
from pipelines.roads.proof import read_truth, require_same, saved_model_call
from pipelines.tasks.tasks import Task, run_tasks

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
        MachineError: an environment cannot be made, and no other road took it.
    """
    refused: list[tuple[str, str]] = []
    with TemporaryDirectory(dir=folder.parent, prefix=".road-") as work:
        truth = read_truth(spec, _truth(spec, asked, Path(work), progress))
        for name in roads:
            road, result = TO_SAVED_MODEL[name], Path(work) / name
            try:
                convert(spec, asked, road, result, progress)
                progress(f"{name}: comparing with the source model")
                error = require_same(spec, saved_model_call(result, SIGNATURE), truth)
            except (GateError, MachineError, RequestError) as failure:
                refused.append((name, str(failure)))
                continue
            result.replace(folder)
            return Taken(name, road.versions, error, tuple(refused))
    raise none_takes(spec, "a SavedModel", refused)


def none_takes(spec: ModelSpec, what: str, refused: Sequence[tuple[str, str]]) -> UserError:
    """The one line that says what was tried and what can be done."""
    tried = "; ".join(f"{name}: {reason}" for name, reason in refused)
    return GateError(
        f"no road takes {spec.name} to {what}: {tried}. Give its ModelSpec a twin (build_keras), express "
        "that part with other operators, or leave this target out with --targets"
    )


def _truth(spec: ModelSpec, asked: Asked, work: Path, progress: Callable[[str], None]) -> Path:
    file = work / "truth.npz"
    arguments = {"model": asked.model, "digest": spec.digest, "file": str(file)}
    task = Task("source model", "pipelines.roads.proof:write_truth", arguments, TRUTH_LIMIT_S)
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
    arguments = {"function": road.convert, "model": asked.model, "digest": spec.digest, "folder": str(folder)}
    task = Task(road.name, "pipelines.roads.converting:convert", arguments, road.limit_s, road.environment)
    (outcome,) = run_tasks([task], lambda _, text: progress(f"{road.name}: {text}"))
    if outcome.result is not None:
        raise GateError(outcome.result)
    return time.monotonic() - started

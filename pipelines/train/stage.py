"""The train stage: a model's own training, in a process of its own, and whether it gave the same weights."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.spec import load_model
from pipelines.errors import RequestError
from pipelines.files.atomic import write_atomically
from pipelines.tasks.tasks import Progress, run_tasks, task_of

# Nobody trains longer on purpose without a word about it; see `Task`.
TRAIN_LIMIT_S = 24 * 3600.0


@dataclass(frozen=True)
class TrainOutcome:
    """The training record, where it is, and whether the checkpoint has the same bytes as the one before.

    `reproduced` is None when there was none before.
    """

    record: dict[str, Any]
    checkpoint: Path
    reproduced: bool | None


def train(model: str, progress: Progress) -> TrainOutcome:
    """Train `model` from scratch; replaces its checkpoint and `training.json` beside it.

    Raises:
        RequestError: the model says nothing about how it is trained.
        ModelError: there is no such model.
    """
    spec = load_model(model)
    if spec.train is None:
        raise RequestError(f"{spec.name} has no training: its ModelSpec gives no `train`")
    before = _digest(spec.checkpoint)
    (outcome,) = run_tasks([task_of(f"train {spec.name}", TRAIN_LIMIT_S, train_here, model=model)], progress)
    record = outcome.result
    write_atomically(spec.checkpoint.with_name("training.json"), json.dumps(record, indent=2) + "\n")
    reproduced = None if before is None else before == _digest(spec.checkpoint)
    return TrainOutcome(record, spec.checkpoint, reproduced)


def train_here(progress: Callable[[str], None], model: str) -> dict[str, Any]:
    """Train the model in the training process."""
    spec = load_model(model)
    if spec.train is None:
        raise RequestError(f"{spec.name} has no training")
    return spec.train(spec.checkpoint, progress)


def _digest(path: Path) -> str | None:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None

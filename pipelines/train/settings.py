"""What `tandem train --framework` was asked for, and whether the model can be trained so."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, cast

import numpy as np

from models.errors import ModelError
from models.recipe import Recipe
from models.samples import checked
from models.spec import ModelSpec, load_model, model_names
from pipelines.errors import RequestError, unknown
from pipelines.machine.cores import listed, read_cores
from pipelines.record.training import Framework

FRAMEWORKS: Final[tuple[Framework, ...]] = ("torch", "keras")
SEEDS_COUNT: Final = 5
FIRST_SEED: Final = 20
MOST_SEEDS, MOST_EPOCHS = 100, 10_000


@dataclass(frozen=True)
class TrainingSettings:
    """A training that is measured.

    Attributes:
        frameworks: the first is the candidate; one alone is measured and compared with nothing.
        keep: whose model of the first seed is written into the run's folder, to be deployed.
        cores: every training has them, with as many threads.
    """

    model: str
    frameworks: tuple[Framework, ...]
    seeds: tuple[int, ...]
    epochs_count: int
    batch_size: int
    cores: tuple[int, ...]
    keep: Literal["keras"] | None
    runs: Path


def training_settings(
    model: str,
    frameworks: str,
    *,
    seeds: int | None,
    epochs: int | None,
    batch: int | None,
    cores: str | None,
    keep: str | None,
    runs: Path,
) -> TrainingSettings:
    """Build settings from the options given; None means that an option was not given.

    Raises:
        RequestError: a framework that is none, a number out of range, or a model that cannot be trained so.
        ModelError: there is no such model.
    """
    names = _frameworks(frameworks)
    spec = load_model(model)
    _require_trainable(spec, names)
    assert spec.recipe is not None  # noqa: S101 - required just before
    if keep == "keras" and "keras" not in names:
        raise RequestError(f"--from keras needs a model trained in keras; --framework is {frameworks!r}")
    wanted = _in_range("--seeds", seeds or SEEDS_COUNT if seeds != 0 else 0, 1, MOST_SEEDS)
    samples_count = _samples_count(spec, spec.recipe)
    allowed = tuple(sorted(os.sched_getaffinity(0)))
    return TrainingSettings(
        model=model,
        frameworks=names,
        seeds=tuple(range(FIRST_SEED, FIRST_SEED + wanted)),
        epochs_count=_in_range("--epochs", spec.recipe.epochs if epochs is None else epochs, 2, MOST_EPOCHS),
        batch_size=_in_range("--batch", spec.recipe.batch_size if batch is None else batch, 2, samples_count),
        cores=allowed if cores is None else read_cores("--cores", cores, allowed),
        keep="keras" if keep == "keras" else None,
        runs=runs,
    )


def _samples_count(spec: ModelSpec, recipe: Recipe) -> int:
    """Return how many samples make an epoch.

    Raises:
        ModelError: they do not fit the model's input.
        RequestError: not every one has a class.
    """
    samples = checked(spec.name, recipe.samples(), spec.inputs)
    labels = np.asarray(samples.labels)
    if labels.shape != (len(samples),) or labels.dtype.kind not in "iu":
        raise RequestError(
            f"the recipe of {spec.name} has labels of shape {labels.shape} and {labels.dtype} for "
            f"{len(samples)} samples; a whole number for each is needed, its class"
        )
    return len(samples)


def _frameworks(text: str) -> tuple[Framework, ...]:
    names = [part.strip() for part in text.split(",")]
    for name in names:
        if name not in FRAMEWORKS:
            raise unknown("framework", name[:40], FRAMEWORKS, where="--framework: ")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise RequestError(
            f"--framework names {twice!r} twice; every framework is also trained against itself, so name "
            "each once: torch,keras"
        )
    return tuple(cast("list[Framework]", names))


def _in_range(option: str, value: int, least: int, most: int) -> int:
    if not least <= value <= most:
        raise RequestError(f"{option} is {value}; allowed: {least} to {most}")
    return value


def _require_trainable(spec: ModelSpec, frameworks: tuple[Framework, ...]) -> None:
    missing = list(_missing(spec, frameworks))
    if missing:
        raise RequestError(
            f"{spec.name} cannot be trained in {' and '.join(frameworks)}: {'; '.join(missing)}; models of "
            f"this package that can: {', '.join(trainable())}"
        )


def _missing(spec: ModelSpec, frameworks: tuple[Framework, ...]) -> Iterator[str]:
    """Yield what a spec lacks to be trained in those frameworks."""
    if "keras" in frameworks and (spec.build_keras is None or spec.whole):
        yield "it has no Keras twin (`build_keras`) that takes the weights of PyTorch"
    if spec.recipe is None:
        yield "its ModelSpec gives no `recipe`, which says how it is trained in both"
    if len(spec.inputs) > 1 or len(spec.outputs) > 1:
        yield f"it has {len(spec.inputs)} inputs and {len(spec.outputs)} outputs; a recipe is for one each"


def trainable() -> list[str]:
    """List the models of this package that can be trained in both frameworks."""
    names = []
    for name in model_names():
        try:
            spec = load_model(name)
        except ModelError:
            continue
        if not list(_missing(spec, FRAMEWORKS)):
            names.append(name)
    return names


def told(settings: TrainingSettings) -> str:
    """Describe the budget of every training."""
    return f"cores {listed(settings.cores)}, {len(settings.cores)} threads"

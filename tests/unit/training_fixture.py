"""A record of `tandem train --framework torch,keras`: five seeds, PyTorch's epochs a quarter longer."""

import random
from typing import Any

from report_fixture import make_run
from report_parts import ENVIRONMENT

from pipelines.judge.training import refigured
from pipelines.record.fairness import FairnessRecord
from pipelines.record.reason import ReasonRecord, reason
from pipelines.record.run import RunRecord
from pipelines.record.training import EpochRecord, Framework, OneTrainingRecord, TrainingRecord

SEEDS = (20, 21, 22, 23, 24)
EPOCH_S: dict[Framework, float] = {"torch": 0.75, "keras": 0.6}
PEAK: dict[Framework, int] = {"torch": 422_000_000, "keras": 670_000_000}
NOISY = reason("foreign_cores", cores=1.4, limit=0.2)


def one_training(
    index: int, seed: int, framework: Framework, role: Any, *lacking: ReasonRecord, factor: float = 1.0
) -> OneTrainingRecord:
    """One training of a seed, with what disturbed it, its epochs `factor` times as long as usual."""
    chance = random.Random(f"{seed}{framework}{role}")  # noqa: S311 - made-up figures
    length = EPOCH_S[framework] * factor
    return OneTrainingRecord(
        index=index,
        seed=seed,
        framework=framework,
        role=role,
        started_at_utc="2026-11-20T14:22:33Z",
        epochs=tuple(
            EpochRecord(
                elapsed_s=length * (12 if number == 0 else chance.uniform(0.99, 1.01)),
                loss=2.1 * 0.5**number * chance.uniform(0.99, 1.01),
            )
            for number in range(6)
        ),
        first_loss=2.3441,
        accuracy=round(0.982 + 0.0022 * (seed % 3), 6),
        loaded_memory_bytes=PEAK[framework] // 2,
        peak_memory_bytes=PEAK[framework] + chance.randrange(500_000),
        foreign_cores=0.02,
        foreign_cpu_share=0.01,
        cpu_steal_share=0.0,
        valid=not lacking,
        invalid_reasons=lacking,
        settings={"compiled": "no", "threads": "1"},
    )


def all_trainings(*lacking: ReasonRecord, factor: float = 1.0) -> tuple[OneTrainingRecord, ...]:
    """Both frameworks and their controls of every seed; `factor` lengthens the epochs of PyTorch."""
    names: tuple[Framework, ...] = ("torch", "keras")
    kinds = [(seed, name, role) for seed in SEEDS for role in ("compared", "control") for name in names]
    return tuple(
        one_training(index, *kind, *lacking, factor=factor if kind[1] == "torch" else 1.0)
        for index, kind in enumerate(kinds)
    )


def make_training(**changes: Any) -> TrainingRecord:
    """The record with any field changed, its figures made of its trainings."""
    fields: dict[str, Any] = {
        "frameworks": ("torch", "keras"),
        "seeds": SEEDS,
        "epochs_count": 6,
        "batch_size": 32,
        "steps_count": 43,
        "samples_count": 1347,
        "test_count": 450,
        "learning_rate": 0.003,
        "weight_decay": 1e-4,
        "cores": (0,),
        "trainings": all_trainings(),
        "figures": (),
        "controls": (),
        "comparisons": (),
        "kept_model": None,
        "kept_spec": None,
    }
    return refigured(TrainingRecord(**(fields | changes)))


def make_training_run(**changes: Any) -> RunRecord:
    """A finished run with any field changed."""
    fields: dict[str, Any] = {
        "kind": "train",
        "run_id": "20261120-142233-digits_cnn",
        "command": ("tandem", "train", "digits_cnn", "--framework", "torch,keras"),
        "profile": None,
        "payload": None,
        "environment": ENVIRONMENT,
        "artifacts": (),
        "targets": {},
        "fairness": FairnessRecord(checked={}, asymmetries=()),
        "controls": (),
        "comparisons": (),
        "trade_offs": (),
        "slo": None,
        "mobile": None,
        "warnings": (),
        "training": make_training(),
    }
    return make_run().model_copy(update=fields | changes)

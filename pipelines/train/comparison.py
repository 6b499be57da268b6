"""`tandem train --framework`: every seed in every framework, each in a process of its own, and what follows.

Within a seed the frameworks and their controls are trained in the order A B B A, and the next seed begins
with the other one, so that a machine that slowly changes is no advantage to either.
"""

import math
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Final, Literal

from loadtests.statistics import PERCENTILE_METHOD
from loadtests.validity import FOREIGN_CORES_LIMIT, FOREIGN_CPU_LIMIT, STEAL_LIMIT
from models.errors import ModelError
from models.recipe import Session
from models.spec import ModelSpec, load_model
from models.weights import read_checkpoint
from pipelines.errors import GateError
from pipelines.judge.training import refigured
from pipelines.machine.cores import Cores, listed
from pipelines.measure.cpu import CpuReading, Neighbours, neighbours, read_cores
from pipelines.measure.environment import describe, own_cpu_s
from pipelines.record.fairness import FairnessRecord
from pipelines.record.model import ModelRecord, TensorRecord
from pipelines.record.reason import ReasonRecord, reason
from pipelines.record.run import RunRecord
from pipelines.record.training import EpochRecord, Framework, OneTrainingRecord, TrainingRecord
from pipelines.report.json import write_run
from pipelines.run.conclusion import conclude_whole
from pipelines.run.entries import utc
from pipelines.run.run import UNFINISHED, Status, new_run_folder, publish
from pipelines.tasks.tasks import Progress, run_tasks, task_of
from pipelines.train import deployable
from pipelines.train.child import Trained, fit_here, initial_here
from pipelines.train.settings import TrainingSettings

LIMIT_S: Final = 24 * 3600.0
SAME_LOSS: Final = 1e-3
"""Relative: float32 sums in another order differ by a millionth, another weight or sample by far more."""

Role = Literal["compared", "control"]


@dataclass
class Trainings:
    """All trainings of a run on their way; `kept` once the Keras model of the first seed is written."""

    settings: TrainingSettings
    spec: ModelSpec
    session: Session
    folder: Path
    progress: Progress
    command: tuple[str, ...]
    started: datetime
    done: list[OneTrainingRecord] = field(default_factory=list)
    kept: deployable.Kept | None = None

    def measure(self) -> None:
        """Train everything, in turn, saving the record after each.

        Raises:
            GateError: the frameworks did not start alike.
            MachineError: a training died, or the disk refused.
        """
        with tempfile.TemporaryDirectory(prefix="tandem-train-") as name:
            weights = Path(name)
            model, seeds = self.settings.model, self.settings.seeds
            initial = task_of("weights", LIMIT_S, initial_here, model=model, seeds=seeds, folder=name)
            run_tasks([initial], self.progress)
            for seed, framework, role in order(self.settings):
                self.done.append(self._train(seed, framework, role, weights / f"{seed}.safetensors"))
                require_alike(self.done)
                write_run(self.record("interrupted", UNFINISHED), self.folder)

    def _train(self, seed: int, framework: Framework, role: Role, weights: Path) -> OneTrainingRecord:
        settings = self.settings
        wanted = settings.keep == framework and role == "compared" and seed == settings.seeds[0]
        keep = self.folder / deployable.FILE if wanted else None
        total = len(list(order(settings)))
        task = task_of(
            f"[{len(self.done) + 1}/{total}] {framework}, seed {seed}",
            LIMIT_S,
            fit_here,
            model=settings.model,
            framework=framework,
            seed=seed,
            epochs=settings.epochs_count,
            batch_size=settings.batch_size,
            cores=settings.cores,
            weights=str(weights),
            keep=str(keep) if keep else None,
        )
        began, before = datetime.now(UTC), _reading()
        (outcome,) = run_tasks([task], self.progress)
        around = neighbours(before, _reading(), _cores(settings))
        if keep:
            self.kept = deployable.keep(self.spec, self.folder)
        return _one(len(self.done), seed, framework, role, utc(began), outcome.result, around)

    def record(self, status: Status, why: str | None, ended: datetime | None = None) -> RunRecord:
        """Record the run as of now, with the figures that follow from what was trained."""
        cores = _cores(self.settings)
        budget: dict[str, dict[str, str]] = {
            str(name): {
                "cores": listed(self.settings.cores),
                "threads": str(len(self.settings.cores)),
                "samples": str(self.session.samples_count),
                "batch": str(self.settings.batch_size),
                "epochs": str(self.settings.epochs_count),
                "seeds": ", ".join(map(str, self.settings.seeds)),
            }
            for name in self.settings.frameworks
        }
        return RunRecord(
            kind="train",
            run_id=self.folder.name,
            tandem_version=metadata.version("tandem-serving"),
            command=self.command,
            started_at_utc=utc(self.started),
            ended_at_utc=utc(ended) if ended else None,
            status=status,
            status_reason=why,
            percentile_method=PERCENTILE_METHOD,
            profile=None,
            model=_model(self.spec),
            environment=describe(cores),
            payload=None,
            artifacts=(),
            targets={},
            fairness=FairnessRecord(checked=budget, asymmetries=()),
            controls=(),
            comparisons=(),
            slo=None,
            mobile=None,
            warnings=(),
            training=refigured(self._training()),
        )

    def _training(self) -> TrainingRecord:
        settings, recipe = self.settings, self.session.recipe
        return TrainingRecord(
            frameworks=settings.frameworks,
            seeds=settings.seeds,
            epochs_count=settings.epochs_count,
            batch_size=settings.batch_size,
            steps_count=self.session.steps_count,
            samples_count=self.session.samples_count,
            test_count=len(self.spec.samples()),
            learning_rate=recipe.learning_rate,
            weight_decay=recipe.weight_decay,
            cores=settings.cores,
            trainings=tuple(self.done),
            figures=(),
            controls=(),
            comparisons=(),
            kept_model=self.kept.model if self.kept else None,
            kept_spec=self.kept.spec if self.kept else None,
        )


def train_compared(
    settings: TrainingSettings, command: Sequence[str], progress: Progress
) -> tuple[RunRecord, Path]:
    """Train in every framework and compare; returns the finished record and the run's folder.

    When it is interrupted it returns what was trained, with status "interrupted". The model's own checkpoint
    stays as it is.

    Raises:
        ModelError: the model's data or its twin are at fault.
        GateError: the frameworks did not start alike.
        MachineError: a training died, or the disk refused.
    """
    spec = load_model(settings.model)
    assert spec.recipe is not None  # noqa: S101 - the settings were made of it
    session = Session(spec.recipe, settings.seeds[0], settings.epochs_count, settings.batch_size)
    folder = new_run_folder(settings.runs, spec.name)
    run = Trainings(settings, spec, session, folder, progress, tuple(command), datetime.now(UTC))

    def finish(status: Status, why: str | None) -> RunRecord:
        record = run.record(status, why, datetime.now(UTC))
        publish(record, folder)
        return record

    def done() -> str:
        return f"{len(run.done)} of {len(list(order(settings)))} trainings"

    return conclude_whole(run.measure, finish, folder, done), folder


def order(settings: TrainingSettings) -> Iterator[tuple[int, Framework, Role]]:
    """Yield every training: seed, framework, and whether it is the framework's control, in turn."""
    for place, seed in enumerate(settings.seeds):
        names = settings.frameworks if place % 2 == 0 else settings.frameworks[::-1]
        yield from ((seed, name, "compared") for name in names)
        yield from ((seed, name, "control") for name in reversed(names))


def require_alike(done: Sequence[OneTrainingRecord]) -> None:
    """Raise GateError if two trainings of one seed have different losses before their first step."""
    first: dict[int, OneTrainingRecord] = {}
    for training in done:
        other = first.setdefault(training.seed, training)
        if abs(training.first_loss - other.first_loss) > SAME_LOSS * abs(other.first_loss):
            raise GateError(
                f"{other.framework} and {training.framework} do not start alike: of seed {training.seed} the "
                f"loss of the first batch is {other.first_loss:.6g} and {training.first_loss:.6g}, and "
                f"the same weights and samples give the same within {SAME_LOSS:g}; check the twin with "
                "`tandem verify`"
            )


def _one(
    index: int,
    seed: int,
    framework: Framework,
    role: Role,
    started: str,
    trained: Trained,
    around: Neighbours,
) -> OneTrainingRecord:
    fitted = trained.fitted
    for epoch, loss in enumerate((fitted.first_loss, *fitted.losses)):
        if not math.isfinite(loss):
            raise ModelError(
                f"the recipe does not converge in {framework}: with seed {seed} the loss is {loss:g} after "
                f"{epoch} epochs; lower its learning_rate, or look at the data"
            )
    lacking = tuple(_disturbances(around))
    return OneTrainingRecord(
        index=index,
        seed=seed,
        framework=framework,
        role=role,
        started_at_utc=started,
        epochs=tuple(
            EpochRecord(elapsed_s=elapsed_s, loss=loss)
            for elapsed_s, loss in zip(fitted.epochs_s, fitted.losses, strict=True)
        ),
        first_loss=fitted.first_loss,
        accuracy=trained.accuracy,
        loaded_memory_bytes=trained.loaded_memory_bytes,
        peak_memory_bytes=trained.peak_memory_bytes,
        foreign_cores=around.foreign_cores,
        foreign_cpu_share=around.foreign_share,
        cpu_steal_share=around.steal_share,
        valid=not lacking,
        invalid_reasons=lacking,
        settings=fitted.settings,
    )


def _disturbances(around: Neighbours) -> Iterator[ReasonRecord]:
    """Yield what else used the CPU, by the limits of rounds."""
    if (around.steal_share or 0) > STEAL_LIMIT:
        yield reason("cpu_stolen", share=around.steal_share or 0, limit=STEAL_LIMIT)
    if (around.foreign_share or 0) > FOREIGN_CPU_LIMIT:
        yield reason("foreign_cpu", share=around.foreign_share or 0, limit=FOREIGN_CPU_LIMIT)
    if (around.foreign_cores or 0) > FOREIGN_CORES_LIMIT:
        yield reason("foreign_cores", cores=around.foreign_cores or 0, limit=FOREIGN_CORES_LIMIT)


def _reading() -> CpuReading:
    return CpuReading(cores=read_cores(), harness_s=own_cpu_s())


def _cores(settings: TrainingSettings) -> Cores:
    return Cores(server=settings.cores, generator=())


def _model(spec: ModelSpec) -> ModelRecord:
    """Describe what is trained anew; the accuracy of the existing checkpoint is not measured."""
    return ModelRecord(
        name=spec.name,
        digest=spec.digest,
        checkpoint_sha256=spec.checkpoint_sha256,
        parameters_count=sum(
            array.size for array in read_checkpoint(spec).values() if array.dtype.kind == "f"
        ),
        inputs=tuple(
            TensorRecord(name=tensor.name, dtype=tensor.dtype, shape=tensor.shape) for tensor in spec.inputs
        ),
        outputs=tuple(
            TensorRecord(name=tensor.name, dtype=tensor.dtype, shape=tensor.shape) for tensor in spec.outputs
        ),
        samples_count=len(spec.samples()),
        accuracy=None,
    )

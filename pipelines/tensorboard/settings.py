"""The settings of a side, a framework or an artifact, as the page of hyper-parameters lists them."""

from collections.abc import Mapping
from typing import Any

from pipelines.record.mobile import MobileArtifactRecord
from pipelines.record.run import RunRecord
from pipelines.record.target import TargetRecord
from pipelines.record.training import TrainingRecord
from pipelines.tensorboard.board import Setting


def of_side(run: RunRecord, name: str, target: TargetRecord) -> dict[str, Setting]:
    """Return who answered, how it was asked, its budget, and its server's settings by their own names."""
    who = target.implementation
    facts = {
        "target": target.target or name,
        "implementation": f"{who.name} {who.version}",
        "runner": who.runner,
        "preset": who.preset,
        "protocol": who.protocol,
        "body": who.body,
        "rows": target.payload.rows if target.payload else None,
        **target.given.model_dump(exclude={"sources"}),
        **{f"settings {key}": value for key, value in who.settings.items()},
    }
    return _plain(_common(run) | facts)


def of_framework(run: RunRecord, training: TrainingRecord, framework: str) -> dict[str, Setting]:
    """Return what a framework was given, and what it made of it by itself."""
    own = next((record.settings for record in training.trainings if record.framework == framework), {})
    settings = training.model_dump(
        include={"epochs_count", "batch_size", "learning_rate", "weight_decay", "cores", "seeds"}
    )
    return _plain(_common(run) | {"framework": framework} | settings | own)


def of_artifact(run: RunRecord, artifact: MobileArtifactRecord) -> dict[str, Setting]:
    """Return what kind of file it is."""
    facts = artifact.model_dump(
        include={"target", "format", "precision", "variant", "delegate", "runtime_library"}
    )
    return _plain(_common(run) | facts)


def _common(run: RunRecord) -> dict[str, Any]:
    return {
        "run": run.run_id,
        "kind": run.kind,
        "model": run.model.name,
        "cpu": run.environment.cpu_model,
        "commit": run.environment.git_commit,
    }


def _plain(fields: Mapping[str, Any]) -> dict[str, Setting]:
    """Keep what is known, as TensorBoard takes it: a truth value, number or text; join lists."""
    return {
        key: ", ".join(map(str, value)) if isinstance(value, tuple | list) else value
        for key, value in fields.items()
        if value is not None
    }

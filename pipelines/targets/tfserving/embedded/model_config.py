"""Model settings from a ModelServerConfig message, as in --model_config_file or a reload request."""

from pathlib import Path
from typing import Any

from .manager import ModelManager, State
from .status import Code, ServingError, invalid
from .versions import ModelSettings, VersionPolicy

_PLATFORM = "tensorflow"


def settings_of(config: Any) -> list[ModelSettings]:
    """Read the models of a ModelServerConfig.

    Raises ServingError (INVALID_ARGUMENT) for what cannot be served.
    """
    if config.WhichOneof("config") != "model_config_list":
        raise invalid("Only a config with a model_config_list is supported")
    models = [_model(entry) for entry in config.model_config_list.config]
    for at, model in enumerate(models):
        if any(model.name == other.name for other in models[:at]):
            raise invalid(f"Illegal to list model {model.name} multiple times in config list")
    return models


def _model(entry: Any) -> ModelSettings:
    if not entry.name:
        raise invalid("A model in the config list has no name")
    platform = entry.model_platform or (_PLATFORM if entry.model_type else "")
    if not platform:
        raise invalid(
            "Illegal setting neither ModelServerConfig::model_type (deprecated) nor "
            "ModelServerConfig::model_platform."
        )
    if platform != _PLATFORM:
        raise invalid(f"Model {entry.name} requests unsupported platform {platform}")
    path = Path(entry.base_path)
    if not path.is_absolute():
        raise invalid(
            f"Expected model {entry.name} to have an absolute path or URI; got base_path()={entry.base_path}"
        )
    return ModelSettings(entry.name, path, _policy(entry), dict(entry.version_labels))


def _policy(entry: Any) -> VersionPolicy:
    policy = entry.model_version_policy
    kind = policy.WhichOneof("policy_choice")
    if kind == "all":
        return VersionPolicy()
    if kind == "specific":
        if not policy.specific.versions:
            raise invalid(f"Model {entry.name} asks for specific versions but names none")
        return VersionPolicy(specific=frozenset(policy.specific.versions))
    return VersionPolicy(latest=max(1, policy.latest.num_versions))


def check_labels(models: list[ModelSettings], manager: ModelManager, unavailable_allowed: bool) -> None:
    """Check that labels point at versions that are available, unless a flag allows otherwise.

    Raises ServingError.
    """
    if unavailable_allowed:
        return
    available = manager.available()
    for model in models:
        for number in model.labels.values():
            if number not in available.get(model.name, []):
                raise ServingError(
                    Code.FAILED_PRECONDITION,
                    f"Request to assign label to version {number} of model {model.name}, "
                    "which is not currently available for inference",
                )


def check_available(models: list[ModelSettings], manager: ModelManager) -> None:
    """Check that every one of these models has an available version.

    Raises ServingError (UNKNOWN) naming what failed.
    """
    missing = [model.name for model in models if model.name not in manager.available()]
    if missing:
        reasons = ", ".join(_reason(name, manager) for name in missing)
        raise ServingError(Code.UNKNOWN, f"{len(missing)} model(s) did not become available: {{{reasons}}}")


def _reason(name: str, manager: ModelManager) -> str:
    try:
        states = manager.status(name)
    except ServingError:
        return f"{{name: {name}, no versions found}}"
    failed = next((state for state in states if state.state is State.END), states[0])
    return f"{{name: {name} version: {failed.version} due to error: {failed.error.text}}}"

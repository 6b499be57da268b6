"""Which runner a command uses, and why: asked for by name, or found out."""

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipelines.config import RunSettings
from pipelines.errors import MachineError, RequestError
from pipelines.runners import ownership
from pipelines.runners.containers import DockerRunner
from pipelines.runners.images import find_images, measure_sizes
from pipelines.runners.local import LocalRunner
from pipelines.runners.server import Runner
from pipelines.workers import Progress

RUNNERS = ("local", "docker", "auto")


@dataclass(frozen=True)
class Choice:
    """Where servers will live, and why; `reason` is None where it was simply asked for."""

    runner: Literal["local", "docker"]
    reason: str | None


def choose(asked: str, targets: Sequence[str], model: str, artifacts: Path, progress: Progress) -> Choice:
    """Settle `auto`, and make sure that an engine and the images are there where containers are to be used.

    Raises:
        RequestError: no such runner.
        MachineError: docker was asked for by name, and there is no engine, or an image cannot be had.
    """
    return _choose(asked, lambda: find_images(targets, model, artifacts, progress), progress)


def choose_runner(asked: str, progress: Progress) -> Choice:
    """As `choose`, by the engine alone: the smoke test says itself what is wrong with an image.

    Raises:
        RequestError: no such runner.
        MachineError: docker was asked for by name, and there is no engine.
    """
    return _choose(asked, _require_engine, progress)


def _require_engine() -> None:
    from pipelines.images import connect

    connect().close()


def _choose(asked: str, require: Callable[[], object], progress: Progress) -> Choice:
    if asked not in RUNNERS:
        near = difflib.get_close_matches(asked, RUNNERS, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise RequestError(f"unknown runner {asked!r}; {hint}allowed: {', '.join(RUNNERS)}")
    if asked == "local":
        return Choice("local", None)
    try:
        require()
    except MachineError as error:
        if asked == "docker":
            raise
        choice = Choice("local", f"runner local, chosen because containers are not to be had: {error}")
    else:
        if asked == "docker":
            return Choice("docker", None)
        choice = Choice("docker", "runner docker, chosen because an engine answers and the images are there")
    progress("runner", choice.reason or choice.runner)
    return choice


def settle(settings: RunSettings, progress: Progress) -> RunSettings:
    """The same settings with the runner that will be used, and why; image sizes are known after it.

    Raises:
        As `choose`.
    """
    choice = choose(settings.runner, settings.targets, settings.model, settings.artifacts, progress)
    if choice.runner == "docker":
        measure_sizes(settings.targets, settings.model, settings.artifacts, progress)
    return settings.model_copy(update={"runner": choice.runner, "runner_reason": choice.reason})


def runner_for(settings: RunSettings, command: str = "compare") -> Runner:
    """The runner that the settings name; `auto` is settled first.

    Raises:
        As `choose`.
    """
    settled = settle(settings, _say_nothing) if settings.runner == "auto" else settings
    if settled.runner == "local":
        return LocalRunner(settled.runner_reason)
    return docker_runner(
        settled.targets, settled.model, settled.artifacts, command, reason=settled.runner_reason
    )


def _say_nothing(title: str, text: str) -> None:
    """A progress that nobody sees: it was shown when the runner was settled."""


def docker_runner(
    targets: Sequence[str],
    model: str,
    artifacts: Path,
    command: str,
    progress: Progress = _say_nothing,
    *,
    reason: str | None = None,
    direct: bool = True,
    health_checks: bool = False,
    variables: Mapping[str, str] | None = None,
) -> DockerRunner:
    """Containers of the model's images; what dead processes left on the engine is removed first.

    Raises:
        MachineError: an engine or an image is not there.
    """
    client, images = find_images(targets, model, artifacts, progress)
    for project in ownership.remove_abandoned(client):
        progress("runner", f"removed {project}, which a process that is dead had left")
    return DockerRunner(
        client,
        images,
        command,
        direct=direct,
        health_checks=health_checks,
        variables=variables or {},
        reason=reason,
    )

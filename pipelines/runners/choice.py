"""Which runner a command uses, and why: asked for by name, or found out."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.config.settings import RunSettings
from pipelines.errors import MachineError, unknown
from pipelines.runners import docker_ownership as ownership
from pipelines.runners.docker_containers import ContainerImage, DockerRunner
from pipelines.runners.docker_images import find_images, with_sizes
from pipelines.runners.local import LocalRunner
from pipelines.runners.server import Runner
from pipelines.tasks.tasks import Progress

if TYPE_CHECKING:
    from docker import DockerClient

RUNNERS = ("local", "docker", "auto")


@dataclass(frozen=True)
class Choice:
    """Where servers will live, and why.

    Attributes:
        client: of the engine that runs containers; None where servers are local processes.
        reason: None where it was simply asked for.
        images: by target, as far as they were looked for.
    """

    client: "DockerClient | None" = None
    reason: str | None = None
    images: "Mapping[str, ContainerImage] | None" = None

    @property
    def runner(self) -> str:
        """ "local" or "docker"."""
        return "local" if self.client is None else "docker"


@dataclass(frozen=True)
class Wanted:
    """The images that a command will need: one per target, of one model."""

    targets: Sequence[str]
    model: str
    artifacts: Path


@contextmanager
def choose(asked: str, wanted: Wanted | None, progress: Progress) -> Iterator[Choice]:
    """Settle `auto`, and look once for an engine and the images; the engine's client is closed at the end.

    Args:
        asked: a name of `RUNNERS`.
        wanted: what images have to be there; None to choose by the engine alone.
        progress: gets the reason, where the runner was not simply asked for.

    Raises:
        RequestError: no such runner.
        MachineError: docker was asked for by name, and no engine is available, or an image cannot be made.
    """
    _require_known(asked)
    with ExitStack() as clients:
        yield Choice() if asked == "local" else _choose(asked, wanted, clients, progress)


def _require_known(runner: str) -> None:
    if runner not in RUNNERS:
        raise unknown("runner", runner, RUNNERS)


def _choose(runner: str, wanted: Wanted | None, clients: ExitStack, progress: Progress) -> Choice:
    from pipelines.package import connect

    try:
        client = connect()
        clients.callback(client.close)
        images = _look(client, wanted, progress)
    except MachineError as error:
        if runner == "docker":
            raise
        choice = Choice(reason=f"runner local, chosen because containers are not available: {error}")
    else:
        if runner == "docker":
            return Choice(client, None, images)
        reason = "runner docker, chosen because an engine answers and the images are there"
        choice = Choice(client, reason, images)
    progress("runner", choice.reason or choice.runner)
    return choice


def _look(
    client: "DockerClient", wanted: Wanted | None, progress: Progress
) -> Mapping[str, ContainerImage] | None:
    if wanted is None:
        return None
    return find_images(client, wanted.targets, wanted.model, wanted.artifacts, progress)


@contextmanager
def settled(
    settings: RunSettings, progress: Progress, command: str = "compare"
) -> Iterator[tuple[RunSettings, Runner]]:
    """Yield the settings with the runner to use and the reason for it, and the runner; image sizes are known.

    Raises:
        As `choose`.
    """
    wanted = Wanted(settings.targets, settings.model, settings.artifacts)
    with choose(settings.runner, wanted, progress) as choice:
        choice_fields = {"runner": choice.runner, "runner_reason": choice.reason}
        yield settings.model_copy(update=choice_fields), runner_of(choice, command, progress, sizes=True)


def runner_of(
    choice: Choice,
    command: str,
    progress: Progress,
    *,
    sizes: bool = False,
    direct: bool = True,
    health_checks: bool = False,
) -> Runner:
    """Make the chosen runner, after removing what dead processes left on its engine.

    Args:
        choice: with the images that were looked for.
        command: what it is for; part of the names of what it makes.
        progress: gets what takes time.
        sizes: measure compressed sizes that are not known yet.
        direct, health_checks: see `DockerRunner`.
    """
    if choice.client is None:
        return LocalRunner(choice.reason)
    clear(choice.client, progress)
    images = choice.images or {}
    return DockerRunner(
        choice.client,
        with_sizes(choice.client, images, progress) if sizes else images,
        command,
        direct=direct,
        health_checks=health_checks,
        reason=choice.reason,
    )


def clear(client: "DockerClient", progress: Progress) -> None:
    """Remove what dead processes left on the engine; what it keeps is told and stands in nobody's way."""
    for project, kept in ownership.remove_abandoned(client).items():
        progress("runner", kept or f"removed {project}, which a process that is dead had left")

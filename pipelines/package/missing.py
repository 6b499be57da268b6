"""The images stage: build what is missing from verified artifacts, and say what would have to be built."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from models.spec import load_model
from pipelines.errors import MachineError, RequestError
from pipelines.export.stage import export
from pipelines.files.atomic import locked
from pipelines.package import base
from pipelines.package.build import build
from pipelines.package.engine import engine, engine_errors
from pipelines.package.image import Image, find_image
from pipelines.package.parts import parts
from pipelines.package.recipes import ALLOWED, IMAGES, LOCUST, TARGETS, ModelParts, Recipe, make_recipe
from pipelines.package.settings import Settings, read_settings
from pipelines.package.wheels import collect, wheel_folder
from pipelines.tasks.tasks import Progress
from pipelines.verify.stage import ensure_verified

if TYPE_CHECKING:
    from docker import DockerClient

# In every Dockerfile, of the stages that only build.
BUILDER_LABEL = "io.tandem.builder"


@dataclass(frozen=True)
class Status:
    """One image: what it is called, and the image itself if the engine has it."""

    key: str
    reference: str
    image: Image | None


def require_keys(keys: Sequence[str]) -> None:
    """Raise RequestError if there is no image of one of these names."""
    for key in keys:
        if key not in ALLOWED:
            raise RequestError(f"unknown image {key!r}; allowed: {', '.join(ALLOWED)}")


def ensure_images(
    model: str,
    artifacts: Path,
    keys: Sequence[str],
    progress: Progress,
    *,
    force: bool = False,
) -> dict[str, Image]:
    """Return every image of `keys`, by key, after building those the engine lacks (with `force`, all).

    Artifacts are exported and verified first, unless they are.

    Raises:
        RequestError, ModelError: there is no such image or model.
        GateError: an artifact is not the source model, so it is not baked.
        MachineError: no engine, a base image that cannot be had, or a build that failed.
    """
    require_keys(keys)
    with engine() as client:
        settings = read_settings()
        recipes = _recipes(model, artifacts, keys, settings, progress)
        lock = wheel_folder().parent / ".images.lock"
        with locked(lock, lambda: progress("images", "waiting for another build")):
            try:
                return {
                    recipe.key: _ensure(client, recipe, settings, progress, force=force) for recipe in recipes
                }
            finally:
                remove_builders(client)


def remove_builders(client: "DockerClient") -> None:
    """Remove the stages that images were built in: without BuildKit they stay, without a name, 3 GB of them.

    Only what carries our label, has no name and is part of no image that has one.
    """
    with suppress(*engine_errors()):
        client.images.prune(filters={"dangling": True, "label": [BUILDER_LABEL]})


def image_status(model: str, artifacts: Path, keys: Sequence[str], progress: Progress) -> list[Status]:
    """Report which images of `keys` the engine has.

    Exports and verifies if need be, because references depend on content.

    Raises:
        As `ensure_images`, but nothing is built.
    """
    require_keys(keys)
    with engine() as client:
        recipes = _recipes(model, artifacts, keys, read_settings(), progress)
        return [Status(r.key, r.reference, find_image(client, r.key, r.target, r.reference)) for r in recipes]


def _recipes(
    model: str, artifacts: Path, keys: Sequence[str], settings: Settings, progress: Progress
) -> list[Recipe]:
    targets = targets_of(keys)
    parts = model_parts(model, artifacts, progress, targets) if set(keys) != {LOCUST} else None
    return [make_recipe(key, parts, settings) for key in keys]


def targets_of(keys: Sequence[str]) -> tuple[str, ...]:
    """Return the targets whose artifacts the named images hold; images of one target need no other's."""
    served = {IMAGES[key][0] for key in keys if key in IMAGES}
    return tuple(target for target in TARGETS if target in served) or TARGETS


def model_parts(
    model: str, artifacts: Path, progress: Progress, targets: Sequence[str] = TARGETS
) -> ModelParts:
    """Return what server images of `targets` contain of the model, exported and verified if need be.

    Raises:
        As `ensure_images`, but no engine is asked.
    """
    spec = load_model(model)
    export(model, artifacts, progress, targets=targets)
    verified = ensure_verified(model, artifacts, progress, targets)
    return ModelParts(spec, artifacts / spec.name, verified.manifests, verified.expected)


def _ensure(
    client: "DockerClient", recipe: Recipe, settings: Settings, progress: Progress, *, force: bool
) -> Image:
    found = find_image(client, recipe.key, recipe.target, recipe.reference)
    if found and not force:
        progress(recipe.key, "there already")
        return found
    if "TFSERVING_BASE" in recipe.arguments:
        base.require_base(client, settings.tfserving_base, "TFSERVING_BASE", progress)
    debian = base.debian_base(client, settings, progress)
    for part in parts(recipe, debian):
        if part.reference != recipe.reference and not force and base.has_image(client, part.reference):
            continue
        wheels = collect(part.pins, progress, part.key) if part.pins else []
        build(client, part, debian, wheels, progress, use_cache=not force)
    built = find_image(client, recipe.key, recipe.target, recipe.reference)
    if built is None:
        raise MachineError(
            f"the engine built {recipe.reference} and no longer has it; if something removes images "
            "meanwhile (docker image prune), stop that and run again"
        )
    progress(recipe.key, "built")
    return built

"""An image in two parts: the server, which is built once, and one model on it, which takes a moment.

Without BuildKit the stages that only build go after every build (`remove_builders`). A server that is kept
under no name of its own would be built again for every model, and be on the disk once more.
"""

from collections.abc import Mapping
from dataclasses import replace

from pipelines.package.image import REPOSITORY
from pipelines.package.recipes import Content, Recipe, content_bytes

LAST_STAGE = b"\nFROM runtime\n"
MODEL_FILES = ("etc/", "models/")


def parts(recipe: Recipe, base: str) -> tuple[Recipe, ...]:
    """Return what has to be on the engine for `recipe`, in order; the last one is tagged with its reference.

    Args:
        base: the Debian image that it begins with.
    """
    server, stage, model = content_bytes(recipe.files["Dockerfile"]).partition(LAST_STAGE)
    if not stage:
        return (recipe,)
    arguments = {name: value for name, value in recipe.arguments.items() if name != "MODEL"}
    runtime = Recipe(
        key=recipe.key,
        target=recipe.target,
        name=f"{REPOSITORY}/{recipe.key}-runtime:",
        files=_files(recipe, server + b"\n", of_model=False),
        labels={"io.tandem.runtime": recipe.key},
        pins=recipe.pins,
        arguments={**arguments, "BASE": base},
    )
    from_runtime = f"FROM {runtime.reference}\n".encode()
    return runtime, replace(
        recipe,
        files=_files(recipe, from_runtime + model, of_model=True),
        pins={},
        arguments={"MODEL": recipe.arguments["MODEL"]},
        known_as=recipe.reference,
    )


def _files(recipe: Recipe, dockerfile: bytes, *, of_model: bool) -> Mapping[str, Content]:
    chosen = {name: text for name, text in recipe.files.items() if name.startswith(MODEL_FILES) == of_model}
    return {**chosen, "Dockerfile": dockerfile}

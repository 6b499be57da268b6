"""Building one image through the engine's API, with progress, and explaining why a build failed."""

import os
import re
from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.errors import MachineError
from pipelines.package.context import packed
from pipelines.package.engine import engine_errors, said
from pipelines.package.recipes import Recipe, content_bytes
from pipelines.tasks.tasks import Progress

if TYPE_CHECKING:
    from docker import DockerClient

LAST_LINES = 4
LINE_LIMIT = 200
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
# One silent step of a build, such as unpacking TensorFlow on a slow disk.
SILENCE_LIMIT_S = 1800
# The engine hands these to every step, where apt reads them, and keeps them out of the image.
PROXY_VARIABLES = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")


def build(
    client: "DockerClient",
    recipe: Recipe,
    base: str,
    wheels: list[Path],
    progress: Progress,
    *,
    use_cache: bool = True,
) -> None:
    """Build `recipe` from the Debian image `base` and tag it with its reference; a failure leaves no tag.

    Ending the connection, as Ctrl-C does, makes the engine end the build and remove its container.

    Raises:
        MachineError: a step failed; with the last lines of its output.
    """
    proxies = {name: os.environ[name] for name in PROXY_VARIABLES if os.environ.get(name)}
    lines: deque[str] = deque(maxlen=LAST_LINES)
    progress(recipe.key, "sending the build context")
    labels = {**recipe.labels, "org.opencontainers.image.base.name": _base_name(recipe, base)}
    with packed(_labelled(recipe, labels), wheels) as context:
        try:
            events = client.api.build(
                fileobj=context,
                custom_context=True,
                tag=recipe.reference,
                buildargs={"BASE": base, **recipe.arguments, **proxies},
                nocache=not use_cache,
                rm=True,
                forcerm=True,
                decode=True,
                timeout=SILENCE_LIMIT_S,
            )
            # To the end even after an error: an answer that was not read leaves its connection open.
            errors = [event["error"] for event in events if _follow(recipe.key, event, lines, progress)]
        except engine_errors() as error:
            raise failure(recipe.key, said(error), lines) from error
    if errors:
        raise failure(recipe.key, errors[0], lines)


def _labelled(recipe: Recipe, labels: Mapping[str, str]) -> Recipe:
    """Return `recipe` with one instruction for all labels; an engine makes a step of each it is given."""
    text = content_bytes(recipe.files["Dockerfile"])
    pairs = " ".join(f"{_quoted(name)}={_quoted(value)}" for name, value in sorted(labels.items()))
    return replace(recipe, files={**recipe.files, "Dockerfile": text + f"\nLABEL {pairs}\n".encode()})


def _quoted(text: str) -> str:
    """Quote for a Dockerfile, where a dollar begins a variable inside quotes too."""
    return '"' + re.sub(r'([\\"$])', r"\\\1", text) + '"'


def _base_name(recipe: Recipe, base: str) -> str:
    return recipe.arguments.get("TFSERVING_BASE", base)


def _follow(key: str, event: dict[str, Any], lines: deque[str], progress: Progress) -> bool:
    """Show what the engine says, keep the last lines of a step; whether it says that the build failed."""
    for line in str(event.get("stream", "")).splitlines():
        text = COLOUR.sub("", line).strip()[:LINE_LIMIT]
        if not text:
            continue
        if text.startswith("Step "):
            progress(key, text)
            lines.clear()
        elif not text.startswith(("--->", "Removing intermediate")):
            lines.append(text)
    return "error" in event


def failure(key: str, error: str, lines: "deque[str] | list[str]") -> MachineError:
    """Make the one-line error for a build that failed."""
    line = " ".join(error.split())[:LINE_LIMIT]
    if "no space left on device" in f"{error} {' '.join(lines)}".lower():
        return MachineError(
            f"the disk of the container engine is full, so the image {key} was not built; free space, for "
            "example with `docker image prune`, and try again"
        )
    last = " | ".join(lines) or "none"
    return MachineError(f"the image {key} could not be built: {line}; the step's last lines: {last}")

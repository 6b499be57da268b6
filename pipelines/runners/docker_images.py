"""The image of every target: the one an environment variable names, else ours, built if it is missing."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.errors import MachineError
from pipelines.record.implementation import ImageRecord
from pipelines.runners.docker_containers import ContainerImage
from pipelines.targets.contained import CONTAINED
from pipelines.tasks.tasks import Progress

if TYPE_CHECKING:
    from docker import DockerClient
    from pipelines.package import Image


def find_images(
    client: "DockerClient", targets: Sequence[str], model: str, artifacts: Path, progress: Progress
) -> dict[str, ContainerImage]:
    """Find or build an image for every target on the client's engine.

    Our own are all looked up at once, which reads and verifies the artifacts once.

    Raises:
        MachineError: an image is not there and cannot be built; says what to run.
    """
    wanted = list(dict.fromkeys(targets))
    for target in wanted:
        if target not in CONTAINED:
            raise MachineError(f"there is no image of {target}; use --runner local")
    named = {target: os.environ.get(CONTAINED[target].image_variable) for target in wanted}
    theirs = {target: _named(client, target, name) for target, name in named.items() if name}
    ours = _ours([target for target in wanted if target not in theirs], model, artifacts, progress)
    return {target: theirs.get(target) or ours[target] for target in wanted}


def with_sizes(
    client: "DockerClient", images: Mapping[str, ContainerImage], progress: Progress
) -> dict[str, ContainerImage]:
    """Return the same images with their compressed sizes; measuring unknown layers takes a minute, once."""
    return {target: _with_size(client, found, progress) for target, found in images.items()}


def _with_size(client: "DockerClient", found: ContainerImage, progress: Progress) -> ContainerImage:
    from pipelines.package import Image, compressed_bytes
    from pipelines.package.stage import SIZES

    record = found.record
    if record.compressed_bytes is not None:
        return found
    progress("images", f"measuring the compressed size of {record.reference}, once")
    image = Image(found.target, found.target, record.reference, record.id, record.size_bytes, None, {})
    size_bytes = compressed_bytes(client, image, SIZES)
    return replace(found, record=record.model_copy(update={"compressed_bytes": size_bytes}))


def _known_size(image_id: str) -> int | None:
    from pipelines.package.image import remembered
    from pipelines.package.stage import SIZES

    return remembered(SIZES).get(image_id)


def _named(client: "DockerClient", target: str, reference: str) -> ContainerImage:
    from docker.errors import ImageNotFound

    variable = CONTAINED[target].image_variable
    try:
        image = client.images.get(reference)
    except ImageNotFound as error:
        raise MachineError(
            f"the image {reference} that {variable} names is not on this engine; `docker pull {reference}`, "
            f"or unset {variable} and run `tandem images`"
        ) from error
    size_bytes = int(image.attrs["Size"])
    image_id = image.id or ""
    record = ImageRecord(
        reference=reference, id=image_id, size_bytes=size_bytes, compressed_bytes=_known_size(image_id)
    )
    return describe(target, record, image.labels)


def _ours(
    targets: Sequence[str], model: str, artifacts: Path, progress: Progress
) -> dict[str, ContainerImage]:
    """Return for each target the first of its images that is there or can be built."""
    if not targets:
        return {}
    keys = {target: _keys(target) for target in targets}
    shelf = _Shelf(model, artifacts, progress)
    shelf.look(list(dict.fromkeys(key for its in keys.values() for key in its)))
    # A vendor's image has to be pulled, which not every machine can: it is tried by itself, after the others.
    shelf.build([its[0] for target, its in keys.items() if its[0] not in _vendors(target)])
    return {target: _described(target, _first(target, its, shelf)) for target, its in keys.items()}


def _keys(target: str) -> list[str]:
    return [image.key for image in CONTAINED[target].images if not image.on_request]


def _vendors(target: str) -> list[str]:
    return [image.key for image in CONTAINED[target].images if image.vendor]


def _first(target: str, keys: Sequence[str], shelf: "_Shelf") -> "Image":
    for key in keys:
        shelf.build([key])
        if key in shelf.images:
            return shelf.images[key]
    raise MachineError(f"no image for {target}: {shelf.problems[keys[0]]}")


@dataclass
class _Shelf:
    """Images of one model by key: what the engine has, what was built, and why some cannot be had."""

    model: str
    artifacts: Path
    progress: Progress
    images: "dict[str, Image]" = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)

    def look(self, keys: Sequence[str]) -> None:
        """Take what the engine has, all at once; one by one where something fails."""
        from pipelines.package import image_status

        try:
            statuses = image_status(self.model, self.artifacts, keys, self.progress)
        except MachineError as error:
            self._one_by_one(self.look, keys, error)
            return
        for status in statuses:
            if status.image is not None:
                self.images[status.key] = status.image
                self.progress(status.key, "there already")

    def build(self, keys: Sequence[str]) -> None:
        """Build what is not here and was not tried, all at once; one by one where something fails."""
        from pipelines.package import ensure_images

        lacking = [key for key in keys if key not in self.images and key not in self.problems]
        if not lacking:
            return
        try:
            self.images |= ensure_images(self.model, self.artifacts, lacking, self.progress)
        except MachineError as error:
            self._one_by_one(self.build, lacking, error)

    def _one_by_one(
        self, attempt: Callable[[Sequence[str]], None], keys: Sequence[str], error: MachineError
    ) -> None:
        """Attempt each of several keys by itself, as the error does not say whose it is; note it of one."""
        if len(keys) > 1:
            for key in keys:
                attempt([key])
            return
        self.problems[keys[0]] = str(error)
        self.progress("images", f"{keys[0]} cannot be had: {error}")


def _described(target: str, image: "Image") -> ContainerImage:
    record = ImageRecord(
        reference=image.reference,
        id=image.image_id,
        size_bytes=image.size_bytes,
        compressed_bytes=image.compressed_bytes or _known_size(image.image_id),
    )
    return describe(target, record, image.labels)


def describe(target: str, record: ImageRecord, labels: Mapping[str, str]) -> ContainerImage:
    """Describe an image by its labels; its name proves nothing."""
    implementation = labels.get("io.tandem.implementation") or "unlabelled image"
    word, note = CONTAINED[target].fallback or (None, None)
    stand_in = word is not None and word in implementation
    return ContainerImage(
        target=target,
        implementation=implementation,
        version=_version(target, labels),
        stand_in=stand_in,
        record=record,
        note=note if stand_in else None,
    )


def label_versions(labels: Mapping[str, str]) -> dict[str, str]:
    """Return the versions in an image's label; empty if there is none that can be read."""
    try:
        found = json.loads(labels.get("io.tandem.versions", "{}"))
    except ValueError:
        return {}
    return {str(name): str(version) for name, version in found.items()} if isinstance(found, dict) else {}


def _version(target: str, labels: Mapping[str, str]) -> str:
    versions = label_versions(labels)
    for name in CONTAINED[target].telling:
        if name in versions:
            return versions[name]
    return labels.get("org.opencontainers.image.version", "unknown")
